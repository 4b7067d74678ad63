"""Votes, whether two answers say the same, and `r1 eval`."""
