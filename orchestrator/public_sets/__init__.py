"""Public data sets: their homes, and downloads that resume and are verified."""
