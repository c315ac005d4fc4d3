"""Networks, their weights and their settings."""
