"""Turn probability maps into final objects."""
