"""What one can do over HTTP, one file per resource."""
