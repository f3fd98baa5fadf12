"""What an experiment would take, in time and money, before anything is spent."""
