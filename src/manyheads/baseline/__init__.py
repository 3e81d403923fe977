"""What can be scored without learning anything, for a network to be better than."""
