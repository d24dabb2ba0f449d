"""The serving room: answers requests with the champion, and journals every answer before it leaves."""
