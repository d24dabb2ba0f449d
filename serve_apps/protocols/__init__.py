"""Protocols: bytes to rows and back. Pure; no Ray, no sockets."""
