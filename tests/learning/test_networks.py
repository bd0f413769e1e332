"""Stacked networks against the plain ones they stand for."""

import copy

import pytest
import torch
from torch import nn

from rllib_biac.learning.model_config import completed
from rllib_biac.learning.networks import MLP, build_network
from rllib_biac.learning.stacked import NetworkGroup, group_networks


def mlps(count=3, sizes=(4, 8, 8, 6), activation="relu", rms_norm=False):
    torch.manual_seed(0)
    return [MLP(sizes, activation, rms_norm) for _ in range(count)]


@pytest.mark.parametrize("rms_norm", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("count", [1, 3])
def test_group_equals_plain_networks(count, activation, rms_norm):
    networks = mlps(count, activation=activation, rms_norm=rms_norm)
    plain = copy.deepcopy(networks)
    group = NetworkGroup(networks)
    x = torch.randn(16, 4)
    weights = torch.randn(count, 16, 6)
    stacked = group(x)
    gradients = torch.autograd.grad(sum((o * w).sum() for o, w in zip(stacked, weights, strict=True)), group.leaves)
    for own, gradient in zip(group.grads, gradients, strict=True):
        own.copy_(gradient)
    for g, network in enumerate(plain):
        output = network(x)
        torch.testing.assert_close(stacked[g], output)
        (output * weights[g]).sum().backward()
        expected = torch.cat([p.grad.flatten() for p in network.parameters()])
        torch.testing.assert_close(group.rows[g].grad, expected)


def test_parameters_are_rows_before_and_after_loading():
    networks = mlps()
    group = NetworkGroup(networks)
    networks[1].load_state_dict(mlps(5)[4].state_dict())
    for g, network in enumerate(networks):
        torch.testing.assert_close(group.flat[g], torch.cat([p.detach().flatten() for p in network.parameters()]))
        assert all(
            p.untyped_storage().data_ptr() == group.flat.untyped_storage().data_ptr() for p in network.parameters()
        )
    x = torch.randn(5, 4)
    torch.testing.assert_close(group(x)[1], networks[1](x))
    with torch.no_grad():
        group.rows[1].add_(1.0)
    torch.testing.assert_close(group(x)[1], networks[1](x))
    torch.testing.assert_close(group(x)[0], networks[0](x))


class Doubled(MLP):
    def forward(self, x):
        return 2 * super().forward(x)


def test_only_equal_mlps_are_stacked():
    one, two, three = mlps()
    networks = {
        "a": one,
        "b": MLP((4, 8, 6)),
        "c": two,
        "d": nn.Sequential(nn.Linear(4, 6)),
        "e": MLP((4, 8, 8, 6), "tanh"),
        "f": Doubled((4, 8, 8, 6)),
        "g": three,
    }
    plain = copy.deepcopy(networks)
    groups = group_networks(networks)
    assert [names for names, _ in groups] == [["a", "c", "g"], ["b"], ["d"], ["e"], ["f"]]
    x = torch.randn(5, 4)
    for names, group in groups:
        for name, output in zip(names, group(x), strict=True):
            torch.testing.assert_close(output, plain[name](x))


def test_shared_parameters_are_refused():
    one, two = mlps(2)
    two.layers[0] = one.layers[0]
    with pytest.raises(ValueError, match=r"'x' and 'y' share parameters.*deepcopy"):
        group_networks({"x": one, "y": two})


def test_convolutions_are_called_as_they_are():
    settings = {"fcnet_hiddens": [16], "fcnet_activation": "relu", "conv_filters": [[4, 3, 2], [8, 3, 2]]}
    torch.manual_seed(0)
    networks = {name: build_network((8, 8, 3), 6, settings) for name in "ab"}
    plain = copy.deepcopy(networks)
    groups = group_networks(networks)
    assert [names for names, _ in groups] == [["a"], ["b"]]
    x = torch.rand(5, 8, 8, 3)
    for (name,), group in groups:
        (output,) = group(x)
        torch.testing.assert_close(output, plain[name](x))
        assert output.shape == (5, 6)


@pytest.mark.parametrize(
    ("given", "smooth", "activation"),
    [(None, True, "silu"), (None, False, "relu"), ("tanh", False, "tanh"), ("relu", True, "relu")],
)
def test_networks_are_smooth_where_actions_climb_unless_a_config_says_otherwise(given, smooth, activation):
    given = {"fcnet_hiddens": [8], "fcnet_activation": given, "fcnet_rms_norm": None}
    config = completed(given, smooth=smooth, rms_norm=True)
    assert config == {"fcnet_hiddens": [8], "fcnet_activation": activation, "fcnet_rms_norm": True}


@pytest.mark.parametrize(
    ("given", "default", "normalised"),
    [(None, True, True), (None, False, False), (False, True, False), (True, False, True)],
)
def test_layers_are_normalised_as_the_config_says_or_else_the_algorithm(given, default, normalised):
    config = completed({"fcnet_hiddens": [8], "fcnet_rms_norm": given}, smooth=False, rms_norm=default)
    assert config["fcnet_rms_norm"] is normalised
    assert build_network((3,), 2, config).rms_norm is normalised


def test_narrow_layers_are_not_normalised_unless_a_config_says_so():
    narrow = {"fcnet_hiddens": [64, 7], "fcnet_rms_norm": None}
    assert completed(narrow, smooth=False, rms_norm=True)["fcnet_rms_norm"] is False
    assert completed(narrow | {"fcnet_rms_norm": True}, smooth=False, rms_norm=True)["fcnet_rms_norm"] is True
    for plain in ({"fcnet_hiddens": [], "fcnet_rms_norm": None}, {"fcnet_hiddens": [64]}):  # none, or of before
        assert completed(plain, smooth=False, rms_norm=True)["fcnet_rms_norm"] is False


def test_images_need_filters():
    with pytest.raises(ValueError, match=r"conv_filters: \[\["):
        build_network((8, 8, 3), 6, {"fcnet_hiddens": [16], "fcnet_activation": "relu", "conv_filters": None})


def test_frozen_parameters_have_no_gradient_slot():
    network = nn.Sequential(nn.Linear(4, 5).requires_grad_(False), nn.Linear(5, 6))
    group = NetworkGroup([network])
    assert [tuple(g.shape) for g in group.grads] == [(6, 5), (6,)]
    gradients = torch.autograd.grad(group(torch.randn(3, 4))[0].sum(), group.leaves)
    torch._foreach_copy_(group.grads, gradients)
    assert group.rows[0].grad[:25].eq(0).all() and group.rows[0].grad[25:].ne(0).any()


@pytest.mark.parametrize("count", [1, 3])
def test_each_network_may_see_an_input_of_its_own(count):
    networks = mlps(count)
    plain = copy.deepcopy(networks)
    group = NetworkGroup(networks)
    inputs = [torch.randn(16, 4) for _ in range(count)]
    weights = torch.randn(count, 16, 6)
    outputs = group(inputs)
    gradients = torch.autograd.grad(sum((o * w).sum() for o, w in zip(outputs, weights, strict=True)), group.leaves)
    for own, gradient in zip(group.grads, gradients, strict=True):
        own.copy_(gradient)
    for g, network in enumerate(plain):
        output = network(inputs[g])
        torch.testing.assert_close(outputs[g], output)
        (output * weights[g]).sum().backward()
        torch.testing.assert_close(group.rows[g].grad, torch.cat([p.grad.flatten() for p in network.parameters()]))


def repeated():
    """Returns a network that uses one layer twice, under two names."""
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(4, 6))


@pytest.mark.parametrize("own_inputs", [False, True])
@pytest.mark.parametrize(
    "networks", [mlps(1), mlps(3), [nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6))], [repeated()]]
)
def test_through_frozen_networks_gradients_reach_the_inputs_only(networks, own_inputs):
    plain = copy.deepcopy(networks)
    group = NetworkGroup(copy.deepcopy(networks))
    inputs = [torch.randn(7, 4, requires_grad=True) for _ in (networks if own_inputs else networks[:1])]
    x = inputs if own_inputs else inputs[0]
    outputs = group(x, frozen=True)
    weights = torch.randn(len(networks), 7, 6)
    loss = sum((o * w).sum() for o, w in zip(outputs, weights, strict=True))
    expected = [network(inputs[g if own_inputs else 0]) for g, network in enumerate(plain)]
    for output, value in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, value)
    found = torch.autograd.grad(loss, [*inputs, *group.leaves], allow_unused=True)
    assert all(gradient is None for gradient in found[len(inputs) :])
    plain_loss = sum((o * w).sum() for o, w in zip(expected, weights, strict=True))
    for gradient, plain_gradient in zip(found, torch.autograd.grad(plain_loss, inputs), strict=False):
        torch.testing.assert_close(gradient, plain_gradient)
    # The next call trains them again.
    again = torch.autograd.grad(sum(o.sum() for o in group(x)), group.leaves)
    assert all(gradient.ne(0).any() for gradient in again)


def test_a_frozen_network_that_raises_is_trained_again_and_what_never_learns_stays_as_it_is():
    network = nn.Sequential(nn.Linear(4, 5).requires_grad_(False), nn.Linear(5, 6))
    group = NetworkGroup([network])
    with pytest.raises(RuntimeError):
        group(torch.randn(3, 7), frozen=True)
    assert [p.requires_grad for p in network.parameters()] == [False, False, True, True]


def test_networks_of_different_labels_are_kept_apart():
    networks = dict(zip("abc", mlps(3), strict=True))
    groups = group_networks(networks, {"a": "critic", "b": "actor", "c": "critic"})
    assert [names for names, _ in groups] == [["a", "c"], ["b"]]
