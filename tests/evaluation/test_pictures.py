"""Games that are drawn: what no film can be made of is refused before play, and what fails later costs no results."""

import numpy as np
import pytest

from rllib_biac.evaluation import play
from rllib_biac.evaluation.pictures import NoPicture, can_draw
from tests.evaluation.test_regret import untrained
from tests.games import Endless

LEVELS = [["one"], ["two"]]


class Drawn(Endless):
    """Draws what it is told to, in turn: an exception, or what `render` returns."""

    shown = ()

    def __init__(self, render_mode=None):
        super().__init__()
        self.drawn, self.steps = 0, 0

    def step(self, actions):
        type(self).stepped += 1
        return super().step(actions)

    def render(self):
        shown = self.shown[min(self.drawn, len(self.shown) - 1)]
        self.drawn += 1
        if isinstance(shown, Exception):
            raise shown
        return shown


def drawing(*shown):
    return type("Drawing", (Drawn,), {"shown": shown, "stepped": 0, "__module__": __name__})


GOOD = np.zeros((4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (NotImplementedError(), r"raised NotImplementedError\(\)"),
        (SystemError("no screen"), r"raised SystemError\('no screen'\)"),
        ("ascii art", "returned text"),
        (GOOD / 2, r"returned float64 of shape \(4, 6, 3\)"),
        (GOOD[..., :2], r"returned uint8 of shape \(4, 6, 2\)"),
        (None, "returned None"),
    ],
)
def test_what_is_no_picture_is_refused_before_play(shown, told):
    game = drawing(shown)
    trained = untrained(game, LEVELS, 0)
    game.stepped = 0  # the look at the game is over
    with pytest.raises(NoPicture, match=rf"Drawing: render\(\) {told}; let it return a uint8 array \(height, width, 3"):
        play(trained, episodes=2, render=True, best_response=1000)
    assert game.stepped == 0


def test_results_are_kept_where_a_game_draws_no_more():
    trained = untrained(drawing(*[GOOD] * 6, ValueError("lost")), LEVELS, 0)
    played = play(trained, episodes=3, render=True)
    assert played.returns["one"] == [3.0] * 3
    assert played.episode_of_frame == [0] * 4 + [1] * 2
    assert played.film_fault.startswith("in episode 2 at step 2 Drawing: render() raised ValueError('lost')")


def test_a_game_that_takes_no_render_mode():
    with pytest.raises(NoPicture, match="escape_v0 draws nothing: it takes no render_mode"):
        play(untrained("escape_v0", [["player_0"], ["player_1"]], 0), episodes=1, render=True)


def test_who_can_draw(monkeypatch):
    for shown, can in ((GOOD, True), (GOOD[..., 0], True), (NotImplementedError(), False), ("text", False)):
        monkeypatch.setitem(globals(), "Shown", drawing(shown))
        assert can_draw(f"{__name__}:Shown", {}) is can
    assert not can_draw("escape_v0", {}) and can_draw("merge_v0", {})
