"""What a person sees and types while a search runs."""
