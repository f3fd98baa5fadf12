"""The ledger of an archive: events of all runs, their segments and how they are merged."""
