"""How good, stable and fair a model is, and whether it may answer."""
