"""Engines of TensorRT and TensorRT-RTX at work on a GPU."""
