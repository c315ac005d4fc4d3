"""What the loop is trained for: targets, loss and prediction of one kind of contest."""
