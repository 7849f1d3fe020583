"""Events, items and users that arrive while the service runs."""
