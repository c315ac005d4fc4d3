"""Detection: the boxes of objects, each with its class."""
