"""A game with a known answer, of which one copy goes wrong once."""

import threading
from pathlib import Path

from tests.games import TwoStates, is_look


class GoesWrongOnce(TwoStates):
    """`TwoStates`, whose first copy to come to its 20th step raises or hangs there; a file says that it has.

    While it is looked at before training it goes right.
    """

    def __init__(self, fault, once):
        super().__init__()
        self.fault, self.once, self.count = fault, Path(once), 0

    def reset(self, seed=None, options=None):
        if seed is not None and is_look(seed):
            self.count = -(10**6)
        return super().reset(seed)

    def pay(self, one, two):
        self.count += 1
        if self.count == 20 and self.is_first():
            if self.fault == "raise":
                raise OSError("the simulator is gone")
            threading.Event().wait()
        return super().pay(one, two)

    def is_first(self):
        try:  # making the file asks and tells at once: copies of other processes may come here at the same moment
            self.once.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
