"""Exported classifiers: made, read, used."""
