"""Training loops, their losses, regularizers and optimizers."""
