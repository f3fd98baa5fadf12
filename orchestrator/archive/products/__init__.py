"""Satellite products of several files, each read as one scene: bands by name, ranges from metadata, masks."""
