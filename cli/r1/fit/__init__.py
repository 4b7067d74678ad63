"""What this machine can hold: a model's memory needs, the plan that fits best, and which model to choose."""
