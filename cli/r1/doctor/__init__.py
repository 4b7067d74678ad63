"""`r1 doctor`: examines this machine and reports what it finds."""
