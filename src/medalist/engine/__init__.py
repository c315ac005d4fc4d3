"""The training loop of all kinds of contests, and the functions around it."""
