"""Everything that only a machine with an NVIDIA GPU can measure: ``python -m benchmarks.gpu``."""
