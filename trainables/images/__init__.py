"""One image file, as numbers."""
