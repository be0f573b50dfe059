"""Engines from ONNX models."""
