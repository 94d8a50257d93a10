"""A study in moments: trainers that do what a test says, tiny images, and the engine around them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import Field

from autotune import (
    Backbone,
    BackboneSource,
    BackboneSourceSpec,
    Checkpoint,
    Choice,
    Data,
    DataSourceSpec,
    Epoch,
    Facts,
    Float,
    Int,
    Model,
    Recipe,
    Run,
    Trainer,
    TrainerSpec,
    Weights,
    hookimpl,
)
from autotune.builtin import toy
from autotune.config import StudyConfig
from autotune.plan import Plan, resolve
from autotune.plugins import Plugins
from autotune.testing import MemorySource, tiny_images

Fit = Callable[[Any, Data, Run], Generator[Epoch, None, None]]
Many = Callable[[Any, Data, Any], Generator[Any, None, None]]


class FakeRecipe(Recipe):
    """What the fake trainer is tuned on."""

    x: Annotated[float, Float(0.0, 1.0)] = Field(0.5, description="The higher the better.")
    n: Annotated[int, Int(1, 9, step=2)] = Field(3, description="Of no use.")


def good_fit(recipe: FakeRecipe, data: Data, run: Run) -> Generator[Epoch, None, None]:
    """An honest trainer: its accuracy grows with x and with the epochs, and what it saves can be resumed."""
    done, total = 0, np.zeros(1)
    if run.resume is not None:
        done, total = int(run.resume.facts["at"]), run.resume.tensors()["total"].copy()
    while done < run.epochs:
        if run.stop():
            return
        done += 1
        total += recipe.x * done
        checkpoint = run.save({"total": total}, {"at": done})
        accuracy = recipe.x * (1 - 0.5**done)
        yield Epoch(at=done, images=10, metrics={"accuracy": accuracy, "cost": recipe.x}, checkpoint=checkpoint)


def good_many(recipes: Any, data: Data, runs: Any) -> Generator[dict[int, Epoch], None, None]:
    """An honest trainer of several recipes: each is trained as `good_fit` does."""
    courses = {i: good_fit(recipe, data, run) for i, (recipe, run) in enumerate(zip(recipes, runs, strict=True))}
    while courses:
        told = {i: next(course, None) for i, course in courses.items()}
        courses = {i: course for i, course in courses.items() if told[i] is not None}
        if courses:
            yield {i: told[i] for i in courses}


class FakeTrainer(Trainer[FakeRecipe]):
    """Does what a test says."""

    def __init__(self, fit: Fit, seconds: Any, many: Many, look: Any) -> None:
        self._fit = fit
        self._many = many
        self._seconds = seconds
        self._look = look

    def fit(self, recipe: FakeRecipe, data: Data, run: Run) -> Generator[Epoch, None, None]:
        """Hands over to the test's function."""
        return self._fit(recipe, data, run)

    def fit_many(self, recipes: Any, data: Data, runs: Any) -> Generator[Any, None, None]:
        """Hands over to the test's function."""
        return self._many(recipes, data, runs)

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> Model:
        """Never asked here."""
        raise TypeError("the fake trainer makes no models")

    def pace(self, recipe: FakeRecipe, data: Data, run: Run) -> float | None:
        """What the test says."""
        return self._seconds(recipe, data, run) if callable(self._seconds) else self._seconds

    def screen(self, recipe: FakeRecipe, data: Data, run: Run) -> Any:
        """What the test says."""
        return self._look(recipe, data, run) if callable(self._look) else self._look


class FakePlugin:
    """A plugin with the fake trainer and tiny images."""

    def __init__(
        self,
        fit: Fit,
        seconds: Any,
        recipe: type[Recipe],
        first: Iterable[dict[str, Any]],
        many: Many,
        look: Any = None,
        **spec: Any,
    ) -> None:
        self.fit, self.seconds, self.recipe, self.first, self.many, self.spec = fit, seconds, recipe, first, many, spec
        self.look = look

    @hookimpl
    def autotune_trainers(self) -> Iterable[TrainerSpec]:
        """Offers ``fake``."""
        build = lambda: FakeTrainer(self.fit, self.seconds, self.many, self.look)  # noqa: E731
        metrics = ("accuracy", "cost", "log_loss", "macro_f1")
        return [
            TrainerSpec(
                name="fake", summary="For tests.", recipe=self.recipe, build=build, metrics=metrics, **self.spec
            )
        ]

    @hookimpl
    def autotune_data_sources(self) -> Iterable[DataSourceSpec]:
        """Offers ``tiny``."""

        def open_source(location: str) -> MemorySource:
            images, labels = tiny_images(3, 24)
            return MemorySource(list(images), [f"class-{label}" for label in labels])

        return [
            DataSourceSpec(name="tiny", summary="For tests.", accepts=lambda where: where == "tiny", open=open_source)
        ]

    @hookimpl
    def autotune_warm_start(self, trainer: TrainerSpec) -> Iterable[dict[str, Any]]:
        """Proposes what the test says."""
        return list(self.first) if trainer.name == "fake" else []


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """Makes a plan for a study in ``tmp_path``; keywords are those of study.toml."""

    def make(
        fit: Fit = good_fit,
        *,
        seconds: Any = None,
        offered: type[Recipe] = FakeRecipe,
        first: Iterable[dict[str, Any]] = (),
        observers: Iterable[object] = (),
        runs: Path | None = None,
        many: Many = good_many,
        batch: Any = 1,
        same: tuple[str, ...] = (),
        look: Any = None,
        recall: Any = None,
        **config: Any,
    ) -> Plan:
        plugins = Plugins()
        plugins.register(FakePlugin(fit, seconds, offered, first, many, look, batch=batch, same=same), "fake")
        plugins.register(toy, "toy")
        for number, observer in enumerate(observers):
            plugins.register(observer, f"observer-{number}")
        asked = {"data": "tiny", "trainer": "fake", "name": "study", **config}
        return resolve(StudyConfig(**asked), plugins, runs=runs or tmp_path, recall=recall)

    return make


class NetRecipe(FakeRecipe):
    """What the fake trainer is tuned on where it has backbones."""

    backbone: Annotated[str, Choice(registry="backbones")] = Field(description="The network.")
    unfreeze_share: Annotated[float, Float(0.0, 1.0)] = Field(0.25, description="Share of blocks.")
    unfreeze: int | None = Field(None, description="Filled in.")

    def resolve(self, backbone: Facts | None) -> NetRecipe:
        """Turns the share into a number of blocks."""
        blocks = 0 if backbone is None else backbone.blocks
        return self.model_copy(update={"unfreeze": round(self.unfreeze_share * blocks)})


class Net(Backbone):
    """A backbone that is only named."""

    def __init__(self, facts: Facts, weights: Weights | None = None) -> None:
        self.facts, self.weights = facts, weights

    def with_weights(self, weights: Weights | None) -> Backbone:
        """The same with other weights."""
        return Net(self.facts, weights)

    def build(self, classes: int, **_: Any) -> Any:
        """Never asked here."""
        raise TypeError("never built here")

    def blocks(self, module: Any) -> tuple[tuple[str, ...], ...]:
        """None."""
        return ()

    def head(self, module: Any) -> tuple[str, ...]:
        """None."""
        return ()


class Nets(BackboneSource):
    """Networks of any name; one of a later letter costs more."""

    def names(self) -> list[str]:
        """A few of them."""
        return list("abcd")

    def backbone(self, name: str) -> Backbone:
        """One of them."""
        cost = float(1 + "abcdefghijklmnopqrstuvwxyz".index(name))
        return Net(Facts(name=f"net/{name}", params=1, blocks=3, input_size=32, cost=cost))

    def fetch(self, name: str) -> Weights:
        """Its weights, as if from a cache."""
        return Weights(path=Path(f"/{name}"), digest=f"digest-{name}", source="hub")


class NetPlugin:
    """A plugin with those networks."""

    @hookimpl
    def autotune_backbones(self) -> Iterable[BackboneSourceSpec]:
        """Offers ``net/a`` and so on."""
        return [BackboneSourceSpec(name="net", summary="For tests.", build=Nets)]


@pytest.fixture
def netted(plan: Callable[..., Plan]) -> Callable[..., Plan]:
    """Makes a plan for a study with candidates ``net/a`` to ``net/c``; keywords as for `plan`."""

    def make(fit: Fit = good_fit, *, observers: Iterable[object] = (), **config: Any) -> Plan:
        asked = {"backbones": ["net/a", "net/b", "net/c"], "offered": NetRecipe, "epochs": 2, **config}
        return plan(fit, observers=[NetPlugin(), *observers], **asked)

    return make


@pytest.fixture
def fake_many() -> Many:
    """The honest trainer's function for several recipes."""
    return good_many


@pytest.fixture
def fake_fit() -> Fit:
    """The honest trainer's function."""
    return good_fit
