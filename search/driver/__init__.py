"""One driver's life: from a plan to a report."""
