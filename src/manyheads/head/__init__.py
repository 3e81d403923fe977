"""Heads: hidden states in, the sum of the losses and their count out."""
