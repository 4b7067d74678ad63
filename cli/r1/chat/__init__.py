"""The chat. `chat` is the conversation, `screen` and `plain` show it, `worker` runs the model, `recorder` saves it."""
