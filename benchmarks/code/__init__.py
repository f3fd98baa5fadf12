"""The code itself, counted."""
