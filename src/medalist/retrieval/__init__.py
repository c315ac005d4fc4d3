"""From vectors to ranked answers and their figures: torch-free, over `search` and `metrics`."""
