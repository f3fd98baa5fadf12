"""The stages in their order, the checks before them, and the work that remains."""
