"""The one training loop, and prediction."""
