"""The chat and its memory: what was said, kept as it is said. See `history`, `search`, `export`."""
