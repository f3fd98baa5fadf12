"""Storage and S3, stages' records, kinds of files, models by name, statistics and shared words."""
