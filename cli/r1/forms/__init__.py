"""Answers of a form: a JSON Schema, choices, a regular expression or a grammar, each as a grammar for llama.cpp."""
