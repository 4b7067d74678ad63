"""llama.cpp as R1 needs it: tokens, the KV cache, and a turn as a stream of events.

Nothing in here prints, reads a terminal, or knows a command line.
"""
