"""Bundles that hold several classifiers and average what they say."""
