"""Several runs as one: works on stores, torch-free."""
