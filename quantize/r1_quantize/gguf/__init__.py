"""The GGUF format: reading headers, encoding metadata, tensor types, split files."""
