"""Engines for NVIDIA GPUs: building them from an exported model, their checked sidecar, and what makes them fit.

One code path serves TensorRT 10.3 and later, TensorRT 11 and TensorRT-RTX. Nothing here imports them, or torch, or
onnx, before it is called.
"""
