"""Where curves go besides metrics.jsonl."""
