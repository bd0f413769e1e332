"""The shell around the kernel: RLlib's configs, algorithms, modules, learners and runners. Only here RLlib is known."""
