"""OpenAI's API: chat completions, responses, completions, models."""
