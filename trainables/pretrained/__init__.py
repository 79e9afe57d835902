"""Pretrained networks: found, known by their SHA-256, and read as tensors alone; for whoever learns
on them.
"""
