"""A frame on the CPU: the NumPy definitions that the kernels must equal."""
