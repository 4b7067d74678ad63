"""An answer as it is written: Markdown and LaTeX to finished and live terminal lines."""
