"""Where a run's numbers go: a CSV file always, Weights & Biases by choice."""
