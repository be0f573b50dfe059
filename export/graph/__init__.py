"""The ONNX graph: written, edited, quantised."""
