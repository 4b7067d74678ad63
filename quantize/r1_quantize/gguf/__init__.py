"""The GGUF format: reading headers, encoding headers, tensor types, split files."""
