"""Inputs and fingerprints of the stages, derived from an experiment."""
