"""Stand-ins for a GPU and TensorRT on a machine that has neither.

`driver/` is a libcuda.so.1 in software, for Python and C++ alike: host memory for the GPU's, the kernels
compiled for the CPU, and CUDA's error for every rule that is broken. `trt.py` has the few classes of TensorRT
that ast-edge uses, on ONNX Runtime. With them the paths of errors are taken that real ones cannot be made to
take, and the order of calls, threads and memory is watched. What they compute proves nothing about a GPU:
that is for tests/gpu on a machine that has one.
"""
