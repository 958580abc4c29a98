"""What the benchmarks share: machine facts, command line, tables, networks without training."""
