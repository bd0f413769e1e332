"""Turns result folders into self-contained HTML pages: what was learned, how, and how to repeat it."""
