"""Simulations of the statistics that verdicts rest on."""
