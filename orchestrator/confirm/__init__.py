"""The winners again with fresh seeds, beside the baselines: the only room whose tasks read the test split."""
