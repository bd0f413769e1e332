"""RLlib's side: the only folder that imports `ray.rllib`."""
