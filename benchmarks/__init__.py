"""What this project's figures come from; README.md has the list."""
