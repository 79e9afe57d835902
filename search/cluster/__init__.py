"""Ray: started or joined, its nodes, what trials ask for, and the ledger as Tune sees it."""
