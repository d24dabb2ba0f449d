"""The training room: fits, distils, judges, and closes the loop."""
