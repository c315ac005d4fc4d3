"""Submission files: the protocol of every format, and the formats that exist."""
