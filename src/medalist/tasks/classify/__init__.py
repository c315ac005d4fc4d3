"""Classification of whole images: one label, several, or a grade."""
