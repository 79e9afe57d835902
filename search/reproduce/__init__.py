"""The report's tables, made again."""
