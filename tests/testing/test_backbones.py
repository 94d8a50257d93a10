"""The checks of backbone sources find what is broken, on small networks that are really built."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import autotune
from autotune import Facts
from autotune.testing import BACKBONE_CHECKS, BackboneCase, ContractError, backbones

FACTS = Facts(name="acme/net", params=1, blocks=2, input_size=32)


class Net(autotune.Backbone):
    """Two blocks and a head."""

    def __init__(self, facts: Facts = FACTS) -> None:
        self.facts = facts
        self.weights = None

    def with_weights(self, weights):
        net = type(self)(self.facts)
        net.weights = weights
        return net

    def build(self, classes, *, drop=0.0, drop_path=0.0, img_size=None, load=True, keep_head=False):
        layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        return torch.nn.Sequential(*layers, torch.nn.Linear(4, classes))

    def blocks(self, module):
        names = [*dict(module.named_parameters()), *dict(module.named_buffers())]
        return tuple(tuple(n for n in names if n.startswith(f"{i}.")) for i in (0, 1))

    def head(self, module):
        return ("4",)


class WrongShape(Net):
    """Forgets how many classes were wanted."""

    def build(self, classes, **keys):
        return super().build(classes + 1, **keys)


class Dead(Net):
    """Has a parameter that nothing uses."""

    def build(self, classes, **keys):
        module = super().build(classes, **keys)
        module[1].spare = torch.nn.Parameter(torch.zeros(1))
        return module


class Forgotten(Net):
    """Leaves a block's buffers out."""

    def blocks(self, module):
        return tuple(tuple(n for n in block if "running" not in n) for block in super().blocks(module))


class Overlapping(Net):
    """Counts the head among the blocks."""

    def blocks(self, module):
        first, second = super().blocks(module)
        return first, (*second, "4.weight")


class Headless(Net):
    """Names a head that is not there."""

    def head(self, module):
        return ("fc",)


def case(net=Net, facts=FACTS, names=("net",), listed=("net",), strict=True):
    """A source of one network."""

    class Source(autotune.BackboneSource):
        def names(self):
            return listed

        def backbone(self, name):
            if strict and name not in listed:
                raise autotune.UnknownName("backbone", name, listed)
            return net(facts)

        def fetch(self, name):
            raise autotune.WeightsUnavailable("there are none")

    return BackboneCase(spec=autotune.BackboneSourceSpec(name="acme", summary="", build=Source), names=names)


@pytest.mark.parametrize(
    ("broken", "check", "said"),
    [
        (case(listed=("net", "net")), "check_names", "twice"),
        (case(listed=()), "check_names", "no names"),
        (case(names=("other",)), "check_names", "does not list"),
        (case(strict=False), "check_names", "does not raise UnknownName"),
        (case(facts=replace(FACTS, name="net")), "check_facts", "its facts are named 'net'"),
        (case(facts=replace(FACTS, min_size=64)), "check_facts", "refuses its own input size"),
        (case(facts=replace(FACTS, blocks=0)), "check_facts", "0 blocks"),
        (case(WrongShape), "check_builds", "gives .2, 4., not .2, 3."),
        (case(Dead), "check_builds", "no gradient reaches"),
        (case(facts=replace(FACTS, blocks=3)), "check_blocks", "facts say 3 blocks, it has 2"),
        (case(Forgotten), "check_blocks", "belong to no block"),
        (case(Overlapping), "check_blocks", "belong to two blocks"),
        (case(Headless), "check_blocks", "has no parameters"),
    ],
)
def test_a_broken_source_is_found_out(broken, check, said):
    """Each broken promise is found by its check."""
    with pytest.raises(ContractError, match=said):
        getattr(backbones, check)(broken)


def test_a_good_source_passes_without_pytest():
    """The checks are plain functions."""
    for check in BACKBONE_CHECKS:
        check(case())
