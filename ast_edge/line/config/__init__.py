"""How options are declared and read from line.toml."""
