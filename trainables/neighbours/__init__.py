"""Which vectors are nearest to which, and what they vote for: norms, distances, neighbours."""
