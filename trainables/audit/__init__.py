"""A look at a data set before anything is searched: what in it would make figures mean less."""
