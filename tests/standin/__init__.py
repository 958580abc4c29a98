"""Stand-ins for TensorRT and pycuda on a machine without a GPU.

They do what NVIDIA's documentation says of the few calls that ast-edge makes, with host memory for the
GPU's, the kernels compiled for the CPU, and ONNX Runtime for the engine. With them the paths of errors are
taken that a real engine cannot be made to take, and the order of calls, threads and memory is watched. What
they compute proves nothing about a GPU: that is for tests/gpu on a machine that has one.
"""
