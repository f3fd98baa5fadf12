"""Experiment settings with their units and defaults, read from YAML, and whether they fit a cluster's nodes."""
