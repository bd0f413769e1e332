"""Actions as vectors and back; gradients through relaxed actions; masks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces

from rllib_biac.learning.actions import ActionCoder
from rllib_biac.walk import restrict

BOXES = {
    "symmetric": spaces.Box(-1.0, 1.0, (3,), np.float32),
    "own_bounds": spaces.Box(np.array([-0.5, 3.0], np.float32), np.array([0.1, 50.0], np.float32)),
    "one": spaces.Box(2.0, 2.5, (1,), np.float32),
}


def test_discrete_actions_are_one_hot_and_decode_inverts_encode():
    coder = ActionCoder(spaces.Discrete(4))
    actions = torch.tensor([3, 0, 1, 2, 2])
    vectors = coder.encode(actions)
    assert coder.size == 4 and coder.discrete
    assert torch.equal(vectors, torch.eye(4)[actions])
    assert torch.equal(coder.decode(vectors), actions)


@pytest.mark.parametrize("name", BOXES)
def test_continuous_actions_fill_the_unit_box_and_decode_inverts_encode(name):
    space = BOXES[name]
    coder = ActionCoder(space)
    low, high = torch.tensor(space.low), torch.tensor(space.high)
    assert coder.size == space.shape[0] and not coder.discrete
    corners = coder.encode(torch.stack([low, high, 0.5 * (low + high)]))
    torch.testing.assert_close(corners, torch.tensor([[-1.0], [1.0], [0.0]]).expand(3, coder.size), atol=1e-5, rtol=0)
    share = torch.rand(100, coder.size, generator=torch.Generator().manual_seed(0))
    actions = low + share * (high - low)
    torch.testing.assert_close(coder.decode(coder.encode(actions)), actions, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("name", BOXES)
def test_whatever_an_actor_says_the_action_lies_in_its_space(name):
    space = BOXES[name]
    coder = ActionCoder(space)
    said = torch.cat(
        [torch.randn(50, coder.size), torch.full((1, coder.size), 99.0), torch.full((1, coder.size), -99.0)]
    )
    for vector in (coder.act(said), said):  # bounded by tanh, and cut off
        for action in coder.decode(vector).numpy():
            assert space.contains(action), action


def test_relaxed_discrete_actions_are_distributions_with_gradients_as_the_temperature_sharpens_them():
    coder = ActionCoder(spaces.Discrete(3))
    logits = torch.tensor([[1.0, -0.5, 0.3]]).repeat(20_000, 1).requires_grad_()
    soft = coder.relax(logits, 1.0, generator=torch.Generator().manual_seed(0))
    sharp = coder.relax(logits, 0.01, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(soft.sum(1), torch.ones(20_000))
    # The likeliest entry is a sample of the softmax, at any temperature (the Gumbel-max trick).
    torch.testing.assert_close(soft.argmax(1), sharp.argmax(1))
    share = F.one_hot(soft.argmax(1), 3).float().mean(0)
    torch.testing.assert_close(share, logits[0].softmax(0), atol=0.02, rtol=0)
    assert sharp.amax(1).mean() > 0.98 > soft.amax(1).mean()
    (gradient,) = torch.autograd.grad((soft * torch.tensor([1.0, 0.0, 0.0])).sum(), logits)
    assert gradient[:, 0].sum() > 0 > gradient[:, 1].sum()


def test_relaxed_continuous_actions_are_the_greedy_ones_with_gradients():
    coder = ActionCoder(BOXES["own_bounds"])
    output = torch.randn(10, 2, requires_grad=True)
    relaxed = coder.relax(output, 1.0)
    assert torch.equal(relaxed, coder.act(output))
    (gradient,) = torch.autograd.grad(relaxed.sum(), output)
    torch.testing.assert_close(gradient, (1 - output.tanh() ** 2).detach())


def test_forbidden_actions_get_nothing_however_good_they_look():
    coder = ActionCoder(spaces.Discrete(4))
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(200, 4, generator=generator) < 0.5
    mask[torch.arange(200), torch.randint(4, (200,), generator=generator)] = True
    output = torch.where(mask, -50.0, 50.0).requires_grad_()
    relaxed = coder.relax(output, 1.0, mask, generator)
    assert (relaxed[~mask] == 0).all() and relaxed.isfinite().all()
    assert mask[torch.arange(200), coder.decode(coder.act(output, mask))].all()
    (gradient,) = torch.autograd.grad(relaxed.square().sum(), output)
    assert gradient.isfinite().all() and (gradient[~mask] == 0).all()
    assert torch.equal(restrict(output, None), output)


@pytest.mark.parametrize(("low", "high"), [(-3e38, 3e38), (1e8, 1e8 + 4), (0.0, 1e-45)])
def test_bounds_between_which_float32_has_no_numbers_are_refused(low, high):
    with pytest.raises(ValueError, match="float32 has no numbers between"):
        ActionCoder(spaces.Box(np.array([-1.0, low]), np.array([1.0, high]), dtype=np.float64))
    ActionCoder(spaces.Box(np.array([-1.0, 2.0]), np.array([1e30, 2.0]), dtype=np.float64))
