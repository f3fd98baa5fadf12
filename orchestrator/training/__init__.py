"""Pretraining and fine-tuning on Ray's workers; the loops themselves are in ``trainables.loops``."""
