"""A trainer, networks and weights that need no torch, for trying plans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

import autotune
from autotune.builtin import digits, folders, policies, toy
from autotune.config import read_config
from autotune.errors import (
    UnknownName,
    UsageError,
    WeightsUnavailable,
)
from autotune.plan import resolve
from autotune.plugins import Plugins
from autotune.testing import tiny_folder


class NetRecipe(autotune.Recipe):
    """A trainer's that uses backbones."""

    backbone: Annotated[str, autotune.Choice(registry="backbones")] = Field(description="The network.")
    share: Annotated[float, autotune.Float(0.0, 1.0)] = Field(0.5, description="Share of blocks.")
    blocks: int | None = Field(None, description="Filled in.")
    lr: Annotated[float, autotune.Float(1e-4, 1e-1, log=True)] = Field(1e-2, gt=0, description="Rate.")
    opt: Annotated[Literal["adamw", "sgd"], autotune.Choice()] = "adamw"
    augment: Annotated[str, autotune.Choice(registry="augmentations")] = "none"
    img_size: int | None = Field(None, ge=8, description="Side in pixels.")
    batch_size: int = Field(32, ge=1, description="Images a step.")

    def resolve(self, backbone):
        """Turns the share into a number of blocks."""
        return self.model_copy(update={"blocks": round(self.share * backbone.blocks)})


class Net(autotune.Backbone):
    """A network that is only named, never built."""

    def __init__(self, facts, weights=None):
        self.facts, self.weights = facts, weights

    def with_weights(self, weights):
        """The same with other weights."""
        return Net(self.facts, weights)

    def build(self, classes, **how):
        """Builds nothing."""
        raise UsageError("never built here")

    def blocks(self, module):
        """No blocks."""
        return ()

    def head(self, module):
        """No head."""
        return ()


NETS = {
    "small": autotune.Facts(name="acme/small", params=1, blocks=4, input_size=64, cost=0.1),
    "large": autotune.Facts(name="acme/large", params=9, blocks=10, input_size=64, cost=900.0),
    "fixed": autotune.Facts(name="acme/fixed", params=1, blocks=4, input_size=64, sizes="fixed", cost=0.2),
    "bare": autotune.Facts(name="acme/bare", params=1, blocks=4, input_size=64, cost=0.3),
}


class Acme(autotune.BackboneSource):
    """Four networks; of one there are no weights."""

    def names(self):
        """Every name."""
        return list(NETS)

    def backbone(self, name):
        """One of them."""
        if name not in NETS:
            raise UnknownName("acme network", name, NETS)
        return Net(NETS[name])

    def fetch(self, name):
        """Its weights, as if from a cache."""
        if name == "bare":
            raise WeightsUnavailable("acme/bare: the hub cannot be reached")
        return autotune.Weights(path=Path(f"/{name}"), digest=f"digest-{name}", source="hub")


def presets(profile, backbones, device, given):
    """Chooses two values."""
    return autotune.Presets(
        fixed={"img_size": 64, "batch_size": 16}, reasons=["img_size 64: small images", "batch_size 16: few images"]
    )


class Guest:
    """Offers all of the above, and first recipes."""

    local = ("small", "large", "fixed")
    starts = ({"share": 0.0, "lr": 1e-2}, {"share": 1.0, "opt": "sgd"}, {"share": 1.0, "opt": "adamw"})
    space = None

    @autotune.hookimpl
    def autotune_trainers(self):
        """A trainer that is never built."""
        return [autotune.TrainerSpec(name="net", summary="Nets.", recipe=NetRecipe, build=object, presets=presets)]

    @autotune.hookimpl
    def autotune_backbones(self):
        """The source."""
        return [autotune.BackboneSourceSpec(name="acme", summary="Acme's.", build=Acme)]

    @autotune.hookimpl
    def autotune_weights(self):
        """Weights for some."""
        source = Acme()
        return [
            autotune.WeightsSpec(
                backbone=f"acme/{n}", summary="Local.", licence=None, locate=lambda n=n: source.fetch(n)
            )
            for n in self.local
        ]

    @autotune.hookimpl
    def autotune_warm_start(self, trainer):
        """First recipes."""
        return self.starts if trainer.name == "net" else ()

    @autotune.hookimpl
    def autotune_search_space(self, trainer):
        """A space, if the test sets one."""
        return self.space if trainer.name == "net" else None


def plugins_with(**changes):
    """The built-ins that need no torch, and the guest."""
    guest = Guest()
    for name, value in changes.items():
        setattr(guest, name, value)
    found = Plugins()
    for plugin in (toy, policies, digits, folders, guest):
        found.register(plugin, getattr(plugin, "__name__", "guest"))
    return found


@pytest.fixture
def plugins():
    """The built-ins that need no torch, and the guest."""
    return plugins_with()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of tiny images."""
    return tiny_folder(tmp_path_factory.mktemp("data") / "My Pets!", each=30)


@pytest.fixture
def runs(tmp_path):
    """Where studies go."""
    return tmp_path / "runs"


def plan_of(images, plugins, runs, *assignments, trainer="net"):
    """The plan of a request."""
    config = read_config(None, assignments, {"data": str(images), "trainer": trainer}, plugins=plugins)
    return resolve(config, plugins, runs=runs)


@pytest.fixture
def make():
    """Makes the plan of a request: ``make(images, plugins, runs, "trials=3")``."""
    return plan_of


@pytest.fixture
def make_plugins():
    """Makes the plugins, the guest's attributes changed: ``make_plugins(local=())``."""
    return plugins_with


@pytest.fixture
def net_recipe():
    """The guest's recipe."""
    return NetRecipe


@pytest.fixture
def acme_source():
    """The guest's source."""
    return Acme


@pytest.fixture
def guest_type():
    """The guest, to be subclassed."""
    return Guest
