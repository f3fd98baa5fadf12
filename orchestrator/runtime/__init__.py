"""What a run lives in: Ray, signals, the terminal and its progress."""
