"""Tuned examples, the only place where tuned values live: YAML files for `rllib train file`."""
