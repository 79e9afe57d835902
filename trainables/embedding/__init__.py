"""Pretrained networks as feature extractors, and simple classifiers on their features."""
