"""The monitoring room: says what has changed, within one budget of false alarms."""
