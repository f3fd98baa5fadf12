"""One model on files, without an experiment: upscale, evaluate, adapt."""
