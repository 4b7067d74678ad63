"""What of a model this machine can hold."""
