"""Run times: ONNX Runtime between host arrays, and networks on the GPU for the device path."""

from __future__ import annotations
