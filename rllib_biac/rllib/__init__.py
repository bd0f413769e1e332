"""The shell around the learning library: RLlib's configs, algorithms, modules, learners and env runners."""
