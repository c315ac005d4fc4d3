"""Pictures, charts and HTML pages of runs."""
