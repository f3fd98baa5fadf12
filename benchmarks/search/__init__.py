"""Search: what it costs beside its trials, and policies replayed on a table."""
