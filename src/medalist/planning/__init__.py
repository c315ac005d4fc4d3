"""The cost of a training, estimated from measurements before it starts."""
