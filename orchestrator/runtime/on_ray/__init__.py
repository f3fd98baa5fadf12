"""Ray: joined or started, its task runner, updates, metrics and log lines."""
