"""How a model comes to its answers."""
