"""Estimates of an experiment's time and cost before anything is spent."""
