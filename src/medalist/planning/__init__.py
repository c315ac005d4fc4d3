"""What a training will cost, measured before it starts."""
