"""Archives of scenes: listing, planning, work on Ray, commits of outputs, and the ledger."""
