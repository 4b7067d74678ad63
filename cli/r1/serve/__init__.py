"""`r1 serve`: OpenAI's, Anthropic's and Ollama's HTTP APIs over one loaded model."""
