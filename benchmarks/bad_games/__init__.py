"""Games that break the rules, one fault each; `__main__` is the program that plays them.

`kinds` says what a kind of fault is. Each file imported here adds those of one part of a game to `kinds.KINDS`.
"""

from bad_games import behaviour, ends, factories, masks, observations, rewards  # noqa: F401
