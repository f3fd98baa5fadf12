"""Overview of an archive's outputs: a STAC collection with a table of its items, and a page."""
