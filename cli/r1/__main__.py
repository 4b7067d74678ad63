"""`python -m r1`."""

from r1.app import main

main()
