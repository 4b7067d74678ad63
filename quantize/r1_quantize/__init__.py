"""A checkpoint, wherever it is → a checked GGUF on this disk.

Knows: everything up to that file. Does not know: how it is run (`r1`), terminals, or who is watching.
"""
