"""What runs an experiment: command line → experiment → stages → artefacts."""
