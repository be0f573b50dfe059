"""The kernels around the engine: pre-processing, softmax, kNN refinement and labels, in CUDA C++.

Importing this package imports neither cuda.core nor NVRTC; making :class:`ifseg_rt.kernels.loaded.LoadedKernels` does.
"""

from __future__ import annotations
