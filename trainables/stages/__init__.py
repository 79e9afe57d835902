"""Work that is shared: stages, their cache, and the one registry on a cluster."""
