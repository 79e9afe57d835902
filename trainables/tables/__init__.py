"""Datasets that a table lists."""
