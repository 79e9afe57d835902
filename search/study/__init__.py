"""One Optuna study a space: samplers, pruners, what goes with what, and where studies live."""
