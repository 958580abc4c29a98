"""Everything that touches CUDA: the device's facts, kernels, memory, and the thread that owns the context."""
