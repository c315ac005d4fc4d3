"""Submission files: what every format owes, and the formats there are."""
