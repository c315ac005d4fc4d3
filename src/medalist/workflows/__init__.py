"""The functions behind the commands that need no torch; they need no terminal either."""
