"""Every figure the project quotes, as a command: `make bench-NAME`."""
