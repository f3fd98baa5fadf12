"""Training: steps, loaders, growth with the data, one GPU."""
