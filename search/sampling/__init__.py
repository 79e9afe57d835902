"""Who proposes trials and who stops them: Optuna's samplers and pruners, and ours."""
