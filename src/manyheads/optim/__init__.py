"""How a model learns: groups of parameters, optimizers, the course of the learning rate, and when a run is over."""
