"""The kinds of contests; each kind is a package with its targets, losses, predictions and answers."""
