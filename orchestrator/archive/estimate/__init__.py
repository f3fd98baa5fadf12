"""Estimate of an archive's time, price and bytes, from scenes that are really upscaled in part."""
