"""Using trained cells: predictions, ONNX."""
