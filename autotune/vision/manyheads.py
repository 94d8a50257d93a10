"""Many linear heads trained at once on the same frozen features, each with settings of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch

from autotune.byte_sizes import format_bytes
from autotune.errors import CheckpointError
from autotune.vision.headplans import Dice, HeadPlan
from autotune.vision.headsteps import Head, HeadGroup, Scratch
from autotune.vision.images import shuffled
from autotune.vision.imbalance import Balancing
from autotune.vision.seeds import derive
from autotune.vision.state import MEAN, MODEL, OPTIMIZER

if TYPE_CHECKING:
    from autotune.vision.scaling import Scaling

ALIGNED = 16
FLOAT = 4
"""Bytes of a float32."""
CPU_ROOM = 1 << 17
CPU_ROOM_DROPPED = 1 << 20
GPU_ROOM = 1 << 26
FREE_SHARE = 1 / 2
"""Share of the memory that is free which heads may take: other processes may need it as much."""
SCORED = 1 << 26
"""Probabilities that are held at once while heads are scored, 256 MiB in float32."""
CHUNK = 4096
SCALED, SCALED_MEAN = "scaled", "scaled_mean"
"""What a head of scaled features is kept as, beside its moments."""


class Rows(Protocol):
    """Features that are not held in memory all at once."""

    def __len__(self) -> int:
        """Number of images."""

    def rows(self, indices: torch.Tensor) -> torch.Tensor:
        """Features float32 [B, D] on the device, for images int64 [B] on the CPU."""


class ManyHeads:
    """Linear heads on the same features, with the same batches in the same order, and nothing else in common.

    A head's course depends on its own plan and on the seed, not on the heads beside it (to rounding). Dropout draws
    one number for each image and feature of a batch; each head compares it with its own rate.

    Args:
        plans: How each head is trained.
        starts: Where each head starts, all of one shape: copied, never changed here.
        device: Where to train.
        balancing: Of the classes, for all heads alike; its draws are `train_epoch`'s order.
        scaling: What the features given here were brought to scale with, where they were. Starts, averages and captured
            states are of unchanged features all the same; rates, penalties and dropout are of the scaled ones.
    """

    def __init__(
        self,
        plans: Sequence[HeadPlan],
        starts: Sequence[torch.nn.Linear],
        device: str | torch.device,
        balancing: Balancing | None = None,
        scaling: Scaling | None = None,
    ) -> None:
        self.device, self._scaling = torch.device(device), scaling
        balancing = balancing or Balancing()
        self._weights, self._shift = (
            None if tensor is None else tensor.to(self.device) for tensor in (balancing.weights, balancing.shift)
        )
        self.classes, self.features = starts[0].weight.shape
        self.bias = starts[0].bias is not None
        self.width = _width(self.features)
        self._heads: dict[int, Head] = {}
        self._groups: list[HeadGroup] = []
        self._batch = 0
        for i, (plan, start) in enumerate(zip(plans, starts, strict=True)):
            weight = self._padded(*self._inner(start.weight, start.bias))
            second = torch.zeros_like(weight) if plan.opt == "adamw" else weight.new_empty(0)
            self._heads[i] = Head(plan, weight, weight.clone(), torch.zeros_like(weight), second)

    @property
    def places(self) -> tuple[int, ...]:
        """The heads that are still trained, by their place in the lists given."""
        return tuple(self._heads)

    def steps(self, place: int) -> int:
        """Steps that a head has taken."""
        return self._heads[place].steps

    def drop(self, place: int) -> None:
        """Lets go of a head: it costs nothing from here on."""
        del self._heads[place]
        self._batch = 0

    @torch.no_grad()
    def train_epoch(
        self,
        features: torch.Tensor | Rows,
        labels: torch.Tensor,
        *,
        epoch: int,
        batch_size: int,
        seed: int,
        keep_going: Callable[[], bool],
        order: Sequence[torch.Tensor] | None = None,
    ) -> int:
        """Trains every head for one pass over the features; the device is never waited for.

        Args:
            features: float32 [N, D] on the device, or what gives its rows.
            labels: int64 [N] on the device.
            epoch: Decides order and dropout, together with the seed.
            batch_size: Images a step.
            seed: Everything random derives from it.
            keep_going: Asked after every batch.
            order: The images of each batch, int64 [B] on the CPU, the largest first; None shuffles all by the seed.

        Returns:
            Images seen, fewer than all if it was stopped.
        """
        drawn = shuffled(len(labels), batch_size, seed, epoch) if order is None else order
        parts = torch.split(torch.cat(list(drawn)).to(self.device), [len(part) for part in drawn])
        self._group(len(parts[0]))
        drops = any(group.drops for group in self._groups)
        dice = Dice(derive(seed, "drop", epoch), self.device, len(parts[0]), self.width) if drops else None
        for group in self._groups:
            group.prepare(len(parts))
        inputs = torch.zeros(len(parts[0]), self.width, device=self.device)
        inputs[:, self.features] = float(self.bias)
        wanted = torch.empty(len(parts[0]), dtype=torch.int64, device=self.device)
        seen = done = 0
        for number, part in enumerate(parts):
            size = len(part)
            read, targets = inputs[:size], wanted[:size]
            if isinstance(features, torch.Tensor):
                torch.index_select(features, 0, part, out=read[:, : self.features])
            else:
                read[:, : self.features] = features.rows(drawn[number])
            torch.index_select(labels, 0, part, out=targets)
            draws = dice(size) if dice else None
            for group in self._groups:
                group.step(read, targets, draws, number)
            seen, done = seen + size, done + 1
            if not keep_going():
                break
        for head in self._heads.values():
            head.steps += done
        return seen

    def diverged(self) -> tuple[int, ...]:
        """The heads whose weights are no longer finite numbers, as a loss that is not finite makes them."""
        if not self._heads:
            return ()
        finite = torch.stack([head.weight.isfinite().all() for head in self._heads.values()]).tolist()
        return tuple(i for i, good in zip(self._heads, finite, strict=True) if not good)

    @torch.no_grad()
    def probabilities(self, features: torch.Tensor | Rows) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Each head's place with its averaged weights' probabilities [N, C], a group of heads in one product.

        Args:
            features: float32 [N, D] on the device, or what gives its rows.
        """
        self._group(self._batch or 1)
        place = {id(head): i for i, head in self._heads.items()}
        most = max(1, SCORED // (self.classes * len(features)))
        for group in self._groups:
            for start in range(0, len(group.heads), most):
                which = slice(start, start + most)
                heads = group.heads[which]
                rows = max(1, SCORED // (len(heads) * self.classes))
                odds = torch.cat([group.odds(part, which).cpu() for part in _in_order(features, rows)], dim=2)
                for head, own in zip(heads, odds.transpose(1, 2), strict=True):
                    yield place[id(head)], np.ascontiguousarray(own.numpy())

    def averaged(self, place: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A head's averaged weight [C, D] and bias [C]."""
        return self._outer(self._heads[place].mean)

    def capture(
        self, place: int, name: str, frozen: Mapping[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """A head's whole state under the names of `autotune.vision.capture`.

        Args:
            place: Which head.
            name: The head's dotted name in its network, e.g. ``classifier``.
            frozen: Further tensors to keep, where no file of weights could give them back.
        """
        head = self._heads[place]
        tensors = {MODEL + n: t for n, t in (frozen or {}).items()}
        for prefix, key, value in ((MODEL, SCALED, head.weight), (MEAN, SCALED_MEAN, head.mean)):
            tensors |= self._listed(prefix + name, *self._outer(value))
            if self._scaling is not None:  # exactly what is trained: folding rounds
                tensors |= {f"{n}/{key}": t for n, t in self._named(OPTIMIZER + name, value).items()}
        if head.steps:
            for key, value in self._moments(head).items():
                tensors |= {f"{n}/{key}": t for n, t in self._named(OPTIMIZER + name, value).items()}
            if head.plan.opt == "adamw":
                tensors |= {f"{OPTIMIZER}{name}.{p}/step": torch.tensor(float(head.steps)) for p in self._parts()}
        return tensors

    def restore(self, place: int, tensors: Mapping[str, torch.Tensor], name: str, steps: int) -> None:
        """Puts a captured state back.

        Args:
            place: Which head.
            tensors: What `capture` returned, or, without a scaling, `autotune.vision.capture` for a network whose head
                this is.
            name: The head's dotted name in its network.
            steps: Steps that it had taken.

        Raises:
            CheckpointError: The state is of another head.
        """
        head = self._heads[place]
        if self._scaling is None:
            head.weight.copy_(self._found(tensors, MODEL + name))
            head.mean.copy_(self._found(tensors, MEAN + name))
        else:
            head.weight.copy_(self._found(tensors, OPTIMIZER + name, f"/{SCALED}"))
            head.mean.copy_(self._found(tensors, OPTIMIZER + name, f"/{SCALED_MEAN}"))
        if steps:
            for key, value in self._moments(head).items():
                value.copy_(self._found(tensors, OPTIMIZER + name, f"/{key}"))
        head.steps = steps

    def _found(self, tensors: Mapping[str, torch.Tensor], owner: str, suffix: str = "") -> torch.Tensor:
        """A head's tensor from a captured state."""
        weight, bias = (tensors.get(f"{owner}.{part}{suffix}") for part in ("weight", "bias"))
        if weight is None or weight.shape != (self.classes, self.features) or (bias is None) == self.bias:
            raise CheckpointError(
                f"the checkpoint holds no {owner}.weight{suffix} [{self.classes}, {self.features}]",
                hint="it is of another network, of another part of it, or of another version of autotune",
            )
        return self._padded(weight, bias)

    def _parts(self) -> tuple[str, ...]:
        return ("weight", "bias") if self.bias else ("weight",)

    def _moments(self, head: Head) -> dict[str, torch.Tensor]:
        """The optimiser's tensors under torch's names."""
        if head.plan.opt == "adamw":
            return {"exp_avg": head.first, "exp_avg_sq": head.second}
        return {"momentum_buffer": head.first} if head.plan.momentum > 0 else {}

    def _named(self, prefix: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
        return self._listed(prefix, *self._split(value))

    def _listed(self, prefix: str, weight: torch.Tensor, bias: torch.Tensor | None) -> dict[str, torch.Tensor]:
        return {f"{prefix}.{part}": t for part, t in zip(self._parts(), (weight, bias), strict=False) if t is not None}

    def _split(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Copies of a padded tensor's weight [C, D] and bias [C]."""
        return value[:, : self.features].clone(), value[:, self.features].clone() if self.bias else None

    def _outer(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The weight and bias, on unchanged features, of what is trained."""
        inner = self._split(value)
        return inner if self._scaling is None else self._scaling.folded(*inner)

    def _inner(self, weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The inverse of `_outer`, not yet padded."""
        return (weight, bias) if self._scaling is None else self._scaling.unfolded(weight.detach(), bias)

    def _padded(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """A head's tensor [C, W]: features, bias, zeros up to a width that products like."""
        padded = torch.zeros(self.classes, self.width, device=self.device)
        padded[:, : self.features] = weight.detach()
        if bias is not None:
            padded[:, self.features] = bias.detach()
        return padded

    def _group(self, batch: int) -> None:
        """Puts heads that step alike side by side, on a CPU only as many as its cache holds."""
        if batch == self._batch:
            return
        alike: dict[tuple[str, bool], list[Head]] = {}
        for head in self._heads.values():
            alike.setdefault((head.plan.opt, head.plan.drop > 0), []).append(head)
        own = self.classes * self.width
        listed: list[list[Head]] = []
        kept = 0
        for (_, drops), heads in alike.items():
            most = _abreast(self.device, own, batch * self.width if drops else 0)
            listed += [heads[k : k + most] for k in range(0, len(heads), most)]
            kept = max(kept, min(most, len(heads)) * batch * self.width if drops else 0)
        largest = max(map(len, listed), default=0)
        sizes = (largest * own, largest * own, kept, largest * self.classes * batch, largest * self.classes * batch)
        rooms = [torch.empty(size, device=self.device) for size in sizes]
        scratch = Scratch(
            grad=rooms[0],
            spare=rooms[1],
            kept=rooms[2],
            logits=rooms[3],
            odds=rooms[4],
            features=self.features,
            bias=int(self.bias),
            weights=self._weights,
            shift=self._shift,
        )
        self._groups = []  # what heads leave is free before the next group is made
        for heads in listed:
            self._groups.append(HeadGroup(heads, scratch))
        self._batch = batch


def heads_that_fit(
    asked: int, device: str | torch.device, free: int, *, classes: int, features: int, batch: int
) -> tuple[int, str]:
    """How many heads are trained at once in the memory that is free, one at least.

    Args:
        asked: How many are wanted.
        device: Where.
        free: Bytes that nobody uses there.
        classes: Of each head.
        features: Of each image.
        batch: Images a step.

    Returns:
        The number; and, where it is less than asked, why.
    """
    own, inputs = classes * _width(features), batch * _width(features)
    each = 4 * FLOAT * own  # weights, their average, two moments
    # While heads are laid side by side they are there twice; a group's steps take two gradients, inputs and logits.
    beside = each + FLOAT * (2 * own + inputs + 2 * batch * classes)
    room, group = int(FREE_SHARE * free), _abreast(torch.device(device), own, inputs)
    few = room // (each + beside)
    most = max(1, few if few < group else (room - group * beside) // each)
    if most >= asked:
        return asked, ""
    head = f"a head of {classes:,} classes on {features:,} features takes {format_bytes(each)} in training"
    return most, f"{most} of {asked} heads are trained at once: {head}, and {format_bytes(free)} are free"


def _width(features: int) -> int:
    """Columns of a head: features and the bias, up to a width that products like."""
    return -(-(features + 1) // ALIGNED) * ALIGNED


def _abreast(device: torch.device, own: int, dropped: int) -> int:
    """How many heads step side by side.

    Args:
        device: Where.
        own: Floats of a head's weights.
        dropped: Floats of a batch after dropout, 0 without.
    """
    room = GPU_ROOM if device.type != "cpu" else CPU_ROOM_DROPPED if dropped else CPU_ROOM
    return max(1, room // max(own, dropped))


def _in_order(features: torch.Tensor | Rows, count: int) -> Iterator[torch.Tensor]:
    """All features, so many images at a time."""
    if isinstance(features, torch.Tensor):
        yield from torch.split(features, count)
        return
    for part in torch.split(torch.arange(len(features)), min(count, CHUNK)):
        yield features.rows(part)
