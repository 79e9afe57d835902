"""The run directory: what lies where, and whether it can be believed."""
