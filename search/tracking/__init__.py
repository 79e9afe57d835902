"""MLflow as a view of a run, which no search waits for."""
