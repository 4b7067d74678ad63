"""A Hugging Face checkpoint on disk: its configuration, its vocabulary, its tensors."""
