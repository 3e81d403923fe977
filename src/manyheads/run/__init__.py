"""One run: how its config is composed, its folder, what it leaves there, and the table of all runs."""
