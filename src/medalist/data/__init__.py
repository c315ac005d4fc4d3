"""Read samples, augment them, and put them together into batches."""
