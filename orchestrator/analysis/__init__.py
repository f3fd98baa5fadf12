"""Analysis of each target domain's distance from the source, and the advice that follows for a search."""
