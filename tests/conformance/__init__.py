"""Other people's clients, as they are published, against the running service: what each gets is what POST /v1/predict answers."""
