"""The finished models: the winner's configuration, trained for longer and on the validation images too."""
