"""Facts about the machine r1 runs on. Readers take the root folder they read from, so that tests can fake a machine.

Imports nothing of the rest of r1.
"""
