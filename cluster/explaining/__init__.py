"""Why a bundle answers a row as it does: what the service, training and the monitor share."""
