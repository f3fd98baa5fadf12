"""Whole experiments through the command line."""
