"""Ollama's API: chat, generate, and the facts about the models."""
