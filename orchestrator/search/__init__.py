"""Optuna studies on Ray Tune or in this process: starting points, samplers, trials and their records."""
