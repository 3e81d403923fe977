"""Networks: token ids in, hidden states out; one file per family or part."""
