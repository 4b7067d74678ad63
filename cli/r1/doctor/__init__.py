"""What `r1 doctor` finds out about this machine, and how it says so."""
