"""What was found: reads finished or running searches, and says it in tables, plots and files."""
