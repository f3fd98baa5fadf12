"""The network: its architecture, its weights, and the files that hold both."""
