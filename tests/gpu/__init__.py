"""Proofs on a real GPU with TensorRT; see benchmarks/gpu/day.py."""
