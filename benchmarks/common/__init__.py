"""Shared code of the benchmarks: machine facts, command line, tables, untrained networks."""
