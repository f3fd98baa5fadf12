"""What a run lives in: its lock, Ray or this process, signals, the terminal and its progress."""
