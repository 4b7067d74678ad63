"""`r1`: DeepSeek-R1's distilled models on your own machine, offline, in a terminal."""

__version__ = "0.1.0"
