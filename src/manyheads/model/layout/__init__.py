"""The layouts that weights are written in and read from: one file per family of names."""
