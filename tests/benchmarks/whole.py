"""P4 and P5: fine-tuning everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import bare
import torch
from material import Material
from measuring import Figures, Goal, Measure, Row
from timm_loop import TimmLoop
from trained import Training

BLOCKS = 8
AUGMENT = "flip-crop"


class Full:
    """One autotune trial with everything unfrozen, begun when it is first asked."""

    def __init__(self, material: Material, name: str, **sampled: object) -> None:
        self.material, self.name, self.sampled = material, name, sampled
        self.training: Training | None = None

    def __call__(self) -> Figures:
        """The next epoch."""
        if self.training is None:
            # The head's own phase is another one, measured by P1.
            self.training = Training(self.material, unfreeze=BLOCKS, fewer=True, head_epochs=0, **self.sampled)
        return {self.name: self.training.epoch().rate}

    def notes(self) -> list[str]:
        """What the trial said of itself."""
        return [] if self.training is None else list(self.training.run.notes)

    def close(self) -> None:
        """Ends the trial."""
        if self.training is not None:
            self.training.close()


class Timm:
    """The loop around timm's loader, made when it is first asked."""

    def __init__(self, material: Material, name: str, **settings: object) -> None:
        self.material, self.name, self.settings = material, name, settings
        self.loop: TimmLoop | None = None

    def __call__(self) -> Figures:
        """One epoch."""
        material = self.material
        if self.loop is None:
            torch.manual_seed(0)
            self.loop = TimmLoop(
                material.files(material.fewer.task.train),
                material.fewer.task.train.labels.tolist(),
                weights=material.weights,
                classes=material.classes,
                img_size=material.settings.img_size,
                device=material.settings.device,
                **self.settings,
            )
        return {self.name: self.loop.train_epoch()}

    def close(self) -> None:
        """Ends the loader's processes."""
        if self.loop is not None:
            self.loop.close()


class Resident:
    """The bare loop over the whole network, on inputs in memory."""

    def __init__(self, material: Material, name: str, bn: str) -> None:
        self.material, self.name, self.bn = material, name, bn
        self.made: tuple[torch.nn.Module, torch.optim.Optimizer] | None = None

    def __call__(self) -> Figures:
        """One epoch."""
        material = self.material
        if self.made is None:
            torch.manual_seed(0)
            network = bare.network(material.weights, material.classes, device=material.settings.device)
            module = bare.training_mode(network, self.bn)
            self.made = module, bare.fused_adamw(module)
        count = len(material.fewer.task.train)
        rate = bare.train_epoch(
            *self.made,
            material.inputs[:count],
            material.labels[:count],
            batch_size=material.settings.batch,
            dtype=material.dtype,
        )
        return {self.name: rate}


def ratio(ours: str, theirs: str) -> Callable[[Figures], float]:
    """The quotient of two figures."""
    return lambda figures: figures[ours] / figures[theirs]


def p4(material: Material) -> Iterator[Measure]:
    """Full fine-tuning over a loop with timm's loader.

    autotune trains its default recipe with the policy that is nearest to timm's default, random resized crops and
    flips. Its default keeps BatchNorm's pretrained statistics; timm's train.py uses those of each batch, which costs
    more: the rows without a goal compare equal work. Batches are the recipe's on both sides, and 128, train.py's own,
    in one more row.
    """
    size = material.settings.batch
    ours = Full(material, "autotune img/s", augment=AUGMENT)
    equal = Full(material, "autotune with batch statistics img/s", augment=AUGMENT, bn="batch")
    plain = Timm(material, "timm img/s", batch_size=size)
    larger = Timm(material, "timm, batches of 128 img/s", batch_size=128)
    fast = Timm(material, "timm channels_last bf16 img/s", batch_size=size, channels_last=True, dtype=torch.bfloat16)
    sides = {"autotune": ours, "equal": equal, "timm": plain, "timm 128": larger, "timm fast": fast}

    def close() -> None:
        for side in sides.values():
            side.close()

    def row(name: str, title: str, left: Full, right: Timm, goal: float | None = None) -> Row:
        wanted = None if goal is None else Goal(sense="at least", value=goal)
        figures = (left.name, right.name)
        return Row(name=name, title=title, value=ratio(*figures), figures=figures, goal=wanted)

    yield Measure(
        sides=sides,
        bare=("timm", "timm 128", "timm fast"),
        notes=lambda: [*ours.notes(), *equal.notes()],
        close=close,
        rows=[
            row("P4 default", "full fine-tuning / timm's loader and defaults", ours, plain, 1.3),
            row("P4 fast", "full fine-tuning / the same in channels_last and bf16", ours, fast, 1.0),
            row("P4 default, 128", "full fine-tuning / timm's loader and defaults, batches of 128", ours, larger),
            row("P4 default, bn", "the same BatchNorm work: batch statistics / timm's defaults", equal, plain),
            row("P4 fast, bn", "the same BatchNorm work: batch statistics / channels_last and bf16", equal, fast),
        ],
    )


def p5(material: Material) -> Iterator[Measure]:
    """Full fine-tuning over bare forward, backward and fused step on inputs in memory."""
    for bn, name, goal in (("frozen", "P5", Goal(sense="at least", value=0.93)), ("batch", "P5 bn=batch", None)):
        ours = Full(material, "autotune img/s", augment=AUGMENT, bn=bn)
        yield Measure(
            sides={"bare": Resident(material, "bare img/s", bn), "autotune": ours},
            bare=("bare",),
            notes=ours.notes,
            close=ours.close,
            rows=[
                Row(
                    name=name,
                    title=f"full fine-tuning / bare loop on resident tensors, bn={bn}",
                    value=ratio("autotune img/s", "bare img/s"),
                    figures=("autotune img/s", "bare img/s"),
                    goal=goal,
                )
            ],
        )
