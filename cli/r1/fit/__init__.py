"""Fits models into this machine's memory: a model's needs, the plan that fits best, and which model to choose."""
