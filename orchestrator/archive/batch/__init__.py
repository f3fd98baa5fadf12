"""Many scenes: listed, planned, handed to workers, committed, and on record in the ledger."""
