"""What a model is on disk: manifest, ONNX file, engine file, reference vectors."""
