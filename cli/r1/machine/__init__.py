"""Facts about the machine r1 runs on. Each reader takes the roots it reads from, so that others can be made up."""
