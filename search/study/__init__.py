"""One Optuna study a space: what goes with what, and where studies live."""
