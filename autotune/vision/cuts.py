"""Networks cut beneath their trained blocks.

What lies beneath gives the same values for the same image as long as it is frozen: they need not be computed twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import torch

from autotune.backbone import Backbone
from autotune.vision.agreement import Boundary, Findings, disagreement, full_precision, undisturbed
from autotune.vision.device import is_out_of_memory
from autotune.vision.freezing import Partition, freeze, train_mode
from autotune.vision.fusing import fuse
from autotune.vision.provenance import digest, making, versions
from autotune.vision.slicing import Flow
from autotune.vision.steps import Step, Untraceable
from autotune.vision.tracing import followed, trace

VERSION = 2
IMAGES = 4
"""Images of the comparison: another number than the network is traced with."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """A network cut at the boundary beneath its trained blocks.

    Attributes:
        unfreeze: How many blocks, counted from the top, lie above the boundary with the head.
        crossing: Names of what crosses, after the submodules or functions that give it.
        fingerprint: Hexadecimal; changes when what crosses, or how it is computed, changes. The weights do not count.
        module: The network.
        values: Digests of how each value that crosses is computed.
        below: From images to the boundary.
        trained: From the boundary to logits in training.
        evaluated: From the boundary to logits in evaluation.
        frozen: The submodules beneath the boundary.
        fusing: Gives `fused`; it is asked once, and only where the frozen part is to compute something.
    """

    unfreeze: int
    crossing: tuple[str, ...]
    fingerprint: str
    module: torch.nn.Module
    values: tuple[str, ...]
    below: Callable[..., Boundary]
    trained: Callable[..., torch.Tensor]
    evaluated: Callable[..., torch.Tensor]
    frozen: tuple[torch.nn.Module, ...]
    fusing: Callable[[], Callable[..., Boundary] | None]

    @property
    def fused(self) -> Callable[..., Boundary] | None:
        """From images to the boundary with batch normalisation fused into convolutions; None where none is."""
        return self.fusing()

    def prefix(self, images: torch.Tensor) -> Boundary:
        """The frozen part, always in evaluation mode and without gradients.

        Args:
            images: Float [N, 3, S, S].

        Returns:
            What crosses, each [N, ...].
        """
        fused = self.fused
        if fused is None:
            return self.unfused(images)
        with torch.no_grad():
            return fused(images)

    def unfused(self, images: torch.Tensor) -> Boundary:
        """The same to rounding, by the operations that the network itself takes; slower where some were fused."""
        with _evaluating(self.frozen):
            return self.below(images)

    def suffix(self, *boundary: torch.Tensor) -> torch.Tensor:
        """The trained part, with gradients; every module in it is in its own mode.

        Args:
            boundary: What crosses, each [N, ...]; not written to.

        Returns:
            Logits [N, C].
        """
        return (self.trained if self.module.training else self.evaluated)(*boundary)


class Cuts:
    """The cuts of one network, each found and compared with the whole network when it is first asked for.

    Args:
        module: What `Backbone.build` returned, on its device.
        backbone: Knows the module's blocks and head.
        img_size: Side of the images in pixels.
        folder: Where is remembered what was compared; None compares anew.

    Attributes:
        name: The backbone's.
        blocks: Number of its blocks.
    """

    def __init__(self, module: torch.nn.Module, backbone: Backbone, *, img_size: int, folder: Path | None) -> None:
        self.name, self.blocks = backbone.name, backbone.facts.blocks
        self._module, self._backbone, self._size = module, backbone, img_size
        self._findings = Findings(folder)
        self._found: dict[int, Cut | str] = {}
        self._between: dict[tuple[int, int], Callable[..., Boundary] | None] = {}
        self._traces: dict[tuple[bool, ...], tuple[list[Step], int]] = {}

    def at(self, unfreeze: int) -> Cut | None:
        """The cut beneath the topmost blocks, or None; `why_not` tells the reason.

        Args:
            unfreeze: How many blocks to train beside the head.
        """
        found = self._ask(unfreeze)
        return found if isinstance(found, Cut) else None

    def why_not(self, unfreeze: int) -> str:
        """Why there is no cut, in one sentence; empty where there is one."""
        found = self._ask(unfreeze)
        return found if isinstance(found, str) else ""

    def between(self, shallow: Cut, deep: Cut) -> Callable[..., Boundary] | None:
        """From one cut's boundary to another's, or None where the one does not suffice.

        Args:
            shallow: With more blocks above it.
            deep: With fewer.
        """
        places = shallow.unfreeze, deep.unfreeze
        if places not in self._between:
            self._between[places] = self._way(shallow, deep)
        return self._between[places]

    def _way(self, shallow: Cut, deep: Cut) -> Callable[..., Boundary] | None:
        try:
            part = self._evaluation.part(self._module, shallow.values, deep.values)
        except Untraceable:
            return None
        frozen = _modules(part)
        fusing = self._fusing(part, lambda: shallow.unfused(self._images(IMAGES)))

        def way(*boundary: torch.Tensor) -> Boundary:
            fused = fusing()
            with _evaluating(frozen):
                return part(*boundary) if fused is None else fused(*boundary)

        return way

    @cached_property
    def _partition(self) -> Partition:
        with undisturbed(self._module):
            return freeze(self._module, self._backbone, 0)

    @cached_property
    def _versions(self) -> list[tuple[str, str]]:
        return versions(self._backbone, *self._module.modules())

    @cached_property
    def _levels(self) -> dict[str, int]:
        blocks = self._partition.blocks
        levels = {name: at for at, block in enumerate(blocks) for name in block}
        return levels | dict.fromkeys(self._partition.head, len(blocks))

    @cached_property
    def _followed(self) -> list[torch.nn.Module]:
        return followed(self._module, self._levels)

    @cached_property
    def _evaluation(self) -> Flow:
        with undisturbed(self._module):
            self._module.eval()
            return Flow(*self._trace())

    def _ask(self, unfreeze: int) -> Cut | str:
        if unfreeze not in self._found:
            self._found[unfreeze] = self._find(unfreeze)
        return self._found[unfreeze]

    def _find(self, unfreeze: int) -> Cut | str:
        if unfreeze >= len(self._partition.blocks):
            return "everything is trained"
        partition = replace(self._partition, unfreeze=unfreeze)
        with undisturbed(self._module):
            train_mode(self._module, partition)
            try:
                found = self._cut(partition)
            except Untraceable as reason:
                found = str(reason)
            except Exception as error:
                # Neither is kept: another time memory may suffice. What fails as a whole too will say so in training.
                if is_out_of_memory(error):
                    found = "memory ran out when its parts were compared with the whole"
                else:
                    found = f"its parts fail: {type(error).__name__}: {error}".splitlines()[0]
        return found if isinstance(found, Cut) else f"{self.name} cannot be cut beneath {unfreeze} blocks: {found}"

    def _cut(self, partition: Partition) -> Cut | str:
        """The cut, or why there is none; the module is in training as the partition says."""
        training = Flow(*self._trace(), len(partition.blocks) - partition.unfreeze)
        evaluation = self._evaluation
        places = training.frontier()
        if all(training.levels[place] < 0 for place in places):
            return "nothing with weights lies beneath them"
        values = tuple(dict.fromkeys(training.digests[place] for place in places))
        below = evaluation.part(self._module, [evaluation.digests[0]], values)
        cut = Cut(
            unfreeze=partition.unfreeze,
            crossing=tuple(training.name(value) for value in values),
            fingerprint=digest(VERSION, self._versions, making(below), self.name, self._size, values),
            module=self._module,
            values=values,
            below=below,
            trained=training.part(self._module, values, None),
            evaluated=evaluation.part(self._module, values, None),
            frozen=_modules(below),
            fusing=self._fusing(below, lambda: [self._images(IMAGES)]),
        )
        return self._compared(cut, partition, digest(training.digests, evaluation.digests)) or cut

    def _fusing(
        self, part: torch.nn.Module, values: Callable[[], Sequence[torch.Tensor]]
    ) -> Callable[[], Callable[..., Boundary] | None]:
        """Fuses a part when it is first asked to: where its results are kept already, that is never."""

        @cache
        def fused() -> Callable[..., Boundary] | None:
            with torch.inference_mode(False), _evaluating(_modules(part)):
                return fuse(part, values())

        return fused

    def _compared(self, cut: Cut, partition: Partition, steps: str) -> str:
        blocks = [sorted(block) for block in (partition.head, *partition.blocks)]
        images = self._images(IMAGES)
        made = digest(steps, making(self._module))
        key = digest(cut.fingerprint, cut.unfreeze, made, blocks, images.device.type, images.dtype)
        differs = self._findings.read(key)
        if differs is None:
            with undisturbed(self._module), full_precision():
                differs = disagreement(self._module, partition, cut.unfused, cut.suffix, images)
            facts = {"backbone": self.name, "unfreeze": cut.unfreeze, "img_size": self._size}
            self._findings.write(key, differs, {**facts, "crossing": cut.crossing})
        return differs

    def _trace(self) -> tuple[list[Step], int]:
        """The steps in the mode that the module is in; blocks in other modes take the same."""
        modes = tuple(child.training for child in self._followed)
        if modes not in self._traces:
            self._traces[modes] = trace(self._module, self._levels, self._images(IMAGES - 1))
        return self._traces[modes]

    def _images(self, count: int) -> torch.Tensor:
        first = next(self._module.parameters())
        generator = torch.Generator().manual_seed(count)
        images = torch.randn(count, 3, self._size, self._size, generator=generator)
        return images.to(first.device, first.dtype)


@contextlib.contextmanager
def _evaluating(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Puts modules into evaluation mode for a while, whatever mode each of them is in, and computes no gradients."""
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def _modules(part: torch.nn.Module) -> tuple[torch.nn.Module, ...]:
    return tuple(part.modules())[1:]
