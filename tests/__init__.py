"""The tests: unit, integration, e2e."""
