"""What scores a language model: each metric has a name, a unit and a direction."""
