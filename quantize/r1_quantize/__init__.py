"""Makes a checked GGUF on this disk from a checkpoint or another GGUF, local or on the hub."""
