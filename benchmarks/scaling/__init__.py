"""What a large cluster asks of S3, of the head and of the ledger: measured costs, and a simulation that uses them."""
