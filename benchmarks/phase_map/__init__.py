"""The phase map: what tuning a fine-tuning is worth, by training scenes, steps, network and shift."""
