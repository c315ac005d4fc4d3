"""The metrics of the contests. Each follows the contest's rules, and higher is always better."""
