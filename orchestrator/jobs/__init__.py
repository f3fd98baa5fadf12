"""What each stage is given, the fingerprint of all that determines its result, and what is left to do."""
