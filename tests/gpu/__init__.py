"""Proofs on a real GPU with TensorRT; see benchmarks/gpu_day.py."""
