"""Markdown and LaTeX → terminal lines, finished and live, while an answer is being written."""
