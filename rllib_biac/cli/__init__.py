"""The `rllib` command: train, train file, evaluate, example."""
