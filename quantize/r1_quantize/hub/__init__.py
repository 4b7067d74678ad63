"""From a repository on the Hugging Face hub to a checked GGUF in the store."""
