"""The version, for modules below the package's own file; pyproject.toml reads it here."""

VERSION = "0.2.0"
