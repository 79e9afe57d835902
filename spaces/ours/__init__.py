"""Long lists of parameters, each with what a search tries and what a user may ask for."""
