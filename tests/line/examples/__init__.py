"""Mirrors ast_edge/line/examples."""
