"""How one configuration runs, with no search around it."""
