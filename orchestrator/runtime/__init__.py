"""The environment of a run: its lock, Ray or this process, signals, the terminal and its progress."""
