"""Places of an archive: its scenes, their outputs and working files."""
