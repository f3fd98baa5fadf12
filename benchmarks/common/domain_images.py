"""The four target domains of the real images that several benchmarks share, and what a scene is there."""

DOMAINS = ("medical", "satellite", "surveillance", "art")

PAINTER = r"^(.*?)(?: \(\d+\))?$"
"""A painting's scene is its painter: the year behind the name is cut off."""
