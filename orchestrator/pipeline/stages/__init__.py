"""The stages of an experiment as objects: inputs, artefacts and resources of each, and the code that runs it."""
