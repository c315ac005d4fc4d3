"""Write the networks of a run in other formats, and refuse a file that says something else than the run."""
