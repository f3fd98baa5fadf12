"""The winners again with fresh seeds, beside the baselines: the only room that reads the test split."""
