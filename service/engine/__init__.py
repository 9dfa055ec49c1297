"""The generator at work: one ONNX Runtime session behind a bounded batcher."""
