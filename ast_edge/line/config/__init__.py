"""Declaration of options and reading of line.toml."""
