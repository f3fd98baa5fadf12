"""The stages in their order, what is checked before them, and what has finished."""
