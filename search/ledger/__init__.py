"""What is to be tried, what runs, what came out; and what a kill leaves, mended."""
