"""The stages of an experiment, each an object that says what it reads, writes and needs, and runs it."""
