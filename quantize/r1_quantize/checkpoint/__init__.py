"""Reads Hugging Face checkpoints: configuration, vocabulary, tensors, and the source made of them."""
