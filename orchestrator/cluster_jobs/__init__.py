"""Experiments as jobs of a Ray cluster, and the files that set such clusters up."""
