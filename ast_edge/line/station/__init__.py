"""The station: every trigger becomes a part, every part gets one verdict."""
