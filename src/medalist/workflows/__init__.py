"""What commands do without torch and without a terminal."""
