"""P1 and P2: what a frozen prefix saves, and whether autotune gets all of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import bare
import torch
from material import Material
from measuring import Figures, Goal, Measure, Row
from trained import Training

DEPTHS = (0, 1, 2, 3)
LIMIT = 300.0
SAMPLE = 2048
SHORT = 15


class BareSuffix:
    """The bare prefix and suffix at one depth, with what crosses between them in memory.

    Args:
        material: Images and weights.
        k: Coarse groups that are trained.
    """

    def __init__(self, material: Material, k: int) -> None:
        self.material, self.k = material, k

    @functools.cached_property
    def parts(self) -> tuple[torch.nn.Module, torch.nn.Module]:
        """Prefix, suffix."""
        torch.manual_seed(0)
        material = self.material
        whole = bare.network(material.weights, material.classes, device=material.settings.device)
        prefix, suffix = bare.cut(whole, self.k)
        return prefix, bare.training_mode(suffix)

    @functools.cached_property
    def inputs(self) -> torch.Tensor:
        """The suffix's inputs for every training image."""
        return bare.boundary(self.parts[0], self.material.inputs.split(self.material.settings.batch))

    @functools.cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """Over the suffix."""
        return bare.fused_adamw(self.parts[1])

    def train(self) -> Figures:
        """One epoch of the suffix."""
        material = self.material
        rate = bare.train_epoch(
            self.parts[1],
            self.optimizer,
            self.inputs,
            material.labels,
            batch_size=material.settings.batch,
            dtype=material.dtype,
        )
        return {"bare suffix img/s": rate}

    def forward(self) -> Figures:
        """The frozen prefix over a part of the images."""
        material = self.material
        rate = bare.forward(
            self.parts[0], material.inputs[:SAMPLE], batch_size=material.settings.batch, dtype=material.dtype
        )
        return {"bare prefix img/s": rate}


class Cached:
    """One autotune trial with what crosses the boundary cached, begun when it is first asked."""

    def __init__(self, material: Material, k: int, name: str = "cached", **sampled: object) -> None:
        self.material, self.name = material, name
        self.sampled = {"unfreeze": k, "augment": "none", **sampled}
        self.training: Training | None = None

    def __call__(self) -> Figures:
        """The next epoch."""
        if self.training is None:
            self.training = Training(self.material, **self.sampled)
            self.training.epoch()  # builds the cache, and fits the head
        epoch = self.training.epoch()
        return {f"{self.name} img/s": epoch.rate, f"{self.name} epoch s": epoch.seconds}

    def notes(self) -> list[str]:
        """What the trial said of itself."""
        return [] if self.training is None else list(self.training.run.notes)

    def close(self) -> None:
        """Ends the trial."""
        if self.training is not None:
            self.training.close()


def p1(material: Material) -> Iterator[Measure]:
    """Suffix training from the cache over a bare loop on tensors in memory."""
    for k in DEPTHS:
        bare_side, ours = BareSuffix(material, k), Cached(material, k)
        yield Measure(
            sides={"bare": bare_side.train, "autotune": ours},
            bare=("bare",),
            least=SHORT if k == 0 and material.rounds > 2 else 1,
            notes=ours.notes,
            close=ours.close,
            rows=[
                Row(
                    name=f"P1 k={k}",
                    title="suffix training from the cache / bare loop in memory",
                    value=lambda f: f["cached img/s"] / f["bare suffix img/s"],
                    figures=("cached img/s", "bare suffix img/s"),
                    goal=Goal(sense="at least", value=0.90),
                )
            ],
        )


def p2(material: Material) -> Iterator[Measure]:
    """A cached epoch over an uncached one, as a share of what the bare rates make possible.

    Told twice: for the training part of an epoch, and for the whole with validation, scores and checkpoint.
    """
    for k in DEPTHS:
        bare_side = BareSuffix(material, k)
        cached, uncached = Cached(material, k), Cached(material, k, "uncached", without_cache=True)

        def possible(f: Figures, k: int = k) -> float:
            bound = 1 + f["bare suffix img/s"] / f["bare prefix img/s"]
            return min(bound, LIMIT) if k == 0 else bound

        def close(cached: Cached = cached, uncached: Cached = uncached) -> None:
            cached.close()
            uncached.close()

        def notes(cached: Cached = cached, uncached: Cached = uncached) -> list[str]:
            return [*cached.notes(), *uncached.notes()]

        bare_figures = ("bare suffix img/s", "bare prefix img/s")
        goal = Goal(sense="at least", value=0.85)
        yield Measure(
            sides={"suffix": bare_side.train, "prefix": bare_side.forward, "cached": cached, "uncached": uncached},
            bare=("suffix", "prefix"),
            notes=notes,
            close=close,
            rows=[
                Row(
                    name=f"P2 k={k}",
                    title="speed-up of training by the cache / possible",
                    value=lambda f, p=possible: f["cached img/s"] / f["uncached img/s"] / p(f),
                    figures=("cached img/s", "uncached img/s", *bare_figures),
                    goal=goal,
                ),
                Row(
                    name=f"P2 k={k} whole",
                    title="speed-up of whole epochs by the cache / possible",
                    value=lambda f, p=possible: f["uncached epoch s"] / f["cached epoch s"] / p(f),
                    figures=("cached epoch s", "uncached epoch s", *bare_figures),
                    goal=goal,
                ),
            ],
        )
