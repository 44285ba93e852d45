"""Exchange with other tools: files of weights, and of networks as ONNX."""
