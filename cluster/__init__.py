"""The ground floor: what every process agrees on, and how it is launched."""
