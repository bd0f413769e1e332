<<<<<<< HEAD
"""RLlib's side: the only folder that imports `ray.rllib`."""
=======
"""The shell around the learning library: RLlib's configs, algorithms, modules, learners and env runners."""
>>>>>>> heads/compat
