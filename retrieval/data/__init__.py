"""Read data files: formats, columns, types and checks."""
