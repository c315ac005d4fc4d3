"""The folder of one run: its files, what they say, and what made them."""
