"""The shell around the learning: the only folder that knows RLlib's names."""
