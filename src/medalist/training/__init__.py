"""The functions behind the commands that train or predict networks; they need no terminal."""
