"""Where the scenes of an archive, their outputs and working files lie."""
