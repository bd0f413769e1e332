"""Algorithms: one folder each, with its settings, its team and its losses."""
