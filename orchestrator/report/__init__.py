"""``report.json``, the one source of every page and table, and those pages and tables."""
