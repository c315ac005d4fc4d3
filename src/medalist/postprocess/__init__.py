"""From probability maps to final objects."""
