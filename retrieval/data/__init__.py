"""How data files are read: formats, columns, types and checks."""
