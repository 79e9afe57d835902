"""Part 1 as plain functions: from images to neighbours to a vote, no search and no cluster."""
