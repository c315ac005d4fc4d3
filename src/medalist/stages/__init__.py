"""The commands' work, without a terminal."""
