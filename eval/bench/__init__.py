"""Speed, one file per layer."""
