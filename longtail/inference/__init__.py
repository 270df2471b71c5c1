"""Trained cells put to use: predictions, ONNX."""
