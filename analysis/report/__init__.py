"""Pages: the report of a run, of several, and of the report's own tables."""
