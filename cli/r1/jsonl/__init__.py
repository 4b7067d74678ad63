"""Many prompts as JSON Lines: reading them, answering several at once, printing the results, and resuming."""
