"""Buckets: the client of S3, its settings, and file systems and local copies of what lies there."""
