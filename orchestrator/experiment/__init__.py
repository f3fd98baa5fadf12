"""What was asked: settings with their units and defaults, read from YAML, and what fits a cluster's nodes."""
