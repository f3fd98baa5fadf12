"""Studies of Optuna on Ray Tune: starts, samplers, trials, their records."""
