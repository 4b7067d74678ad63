"""The models on this machine, what they were made from, and the built-in one."""
