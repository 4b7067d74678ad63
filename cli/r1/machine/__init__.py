"""Facts about the machine r1 runs on. Functions that read files take their root folder, so that tests can fake one.

Imports nothing from the rest of r1.
"""
