"""What bundles compute, as graphs: torch modules, and what onnxruntime runs."""
