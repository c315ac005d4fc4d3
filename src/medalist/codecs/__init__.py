"""Text encodings of answers: the strings that stand in a submission's cells."""
