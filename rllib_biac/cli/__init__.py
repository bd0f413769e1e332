"""The `rllib` command: train, train file, evaluate, reproduce, report, compare, example."""
