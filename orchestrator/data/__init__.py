"""Image sets, their shards, and the test split that is locked away."""
