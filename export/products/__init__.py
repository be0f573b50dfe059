"""What an export makes: an ONNX model, an engine, each compared, described and put in place."""
