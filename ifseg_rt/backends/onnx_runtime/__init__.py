"""ONNX Runtime: between host arrays, and over GPU memory."""
