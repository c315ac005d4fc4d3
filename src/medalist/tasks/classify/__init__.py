"""Classification of whole images: an image has one label, several labels, or a grade."""
