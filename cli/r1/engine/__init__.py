"""llama.cpp for R1: tokens, the KV cache, and a reply as a stream of events. Never prints and never reads a terminal.

Imports no command-line library, and of `r1_quantize` only the few modules that tests/test_arrows.py lists.
"""
