"""Models on disk: manifest, ONNX file, engine file, reference vectors."""
