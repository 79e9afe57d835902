"""What a search is told: the plan, its limits and addresses, and what it may be judged by."""
