"""Training from the boundary: what the frozen part says of an image is computed once and kept.

A feed yields the same values whether they are kept or computed anew, so that a training does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Self

import torch

from autotune.vision.ahead import ahead
from autotune.vision.arrays import ArrayCache, Arrays, NoRoom, fingerprint
from autotune.vision.costs import Keeping, Rung, depths, measure, worth_keeping
from autotune.vision.cuts import Cut, Cuts
from autotune.vision.device import Placement
from autotune.vision.halving import Halving
from autotune.vision.images import Images
from autotune.vision.mixing import Inputs
from autotune.vision.residents import Held, Residents

VERSION = 1
ROOM = 1 / 4
"""Share of the cache that the rungs on the way to one boundary may take."""
FEW = 8
"""Images that a CPU is timed on."""
COPIED = 512 * 2**20
"""Bytes up to which one vector an image is copied into memory for all images."""
FOUND = "activations found in the cache"


class Boundaries:
    """Activations of a network's frozen part, for any side, view and depth.

    On the way from the images to a boundary, those that are cheaper to keep than to compute again are kept too, so
    that a later trial at another depth begins there.

    Args:
        cuts: Where the network can be cut.
        weights: Names the weights; None keeps nothing beyond this object.
        placement: Where the network is.
        cache: Where activations are kept.
        dtype: In which floating-point type they are kept and trained from; None keeps the one they have.
        note: Keeps a line with the trial.

    Attributes:
        on_the_way: Whether those on the way are looked for and kept: they are timed before, at every depth.
        residents: What lies on a GPU beside the cache.
        halving: How many images fit at once where nothing is trained.
    """

    def __init__(
        self,
        cuts: Cuts,
        weights: str,
        placement: Placement,
        cache: ArrayCache,
        *,
        dtype: torch.dtype | None,
        note: Callable[[str], None],
    ) -> None:
        self.cuts, self.weights, self.placement, self.cache, self.dtype = cuts, weights, placement, cache, dtype
        self.note = note
        self.on_the_way = True
        self.residents = Residents(placement, note)
        self.halving = Halving(placement, note, self.residents.give_way)
        self._rungs: dict[int, list[Rung]] = {}
        self._without_room: set[str] = set()

    def rungs(self, images: Images, deepest: int) -> list[Rung]:
        """The depths on the way to a boundary, timed on some images."""
        if deepest not in self._rungs:
            (some,) = next(iter(images.plain()))
            some = some if self.placement.is_cuda else some[:FEW]
            wanted = depths(self.cuts.blocks, deepest)
            self._rungs[deepest] = self.halving.fitting(
                lambda count: measure(self.cuts, self.placement, some[:count], wanted, self._kept), len(some)
            )
        return self._rungs[deepest]

    def judge(self, images: Images, cut: Cut, passes: float, *, keep_going: Callable[[], bool]) -> Keeping:
        """Whether keeping a side's activations pays for a trial that needs each of them so many times.

        Args:
            images: The side.
            cut: The boundary.
            passes: Epochs that are left.
            keep_going: Asked while what is kept already is read through.
        """
        views = [None] if images.fixed else range(max(1, images.views))
        missing = [v for v in views if self.find(images, cut, v, keep_going=keep_going) is None]
        if not missing:
            return Keeping(keep=True, reason=FOUND)
        rungs = self.rungs(images, cut.unfreeze)
        return worth_keeping(
            seconds=sum(rung.seconds for rung in rungs),
            nbytes=rungs[-1].nbytes,
            images=len(images) * len(missing),
            passes=passes / len(views),
        )

    def find(self, images: Images, cut: Cut, view: int | None, *, keep_going: Callable[[], bool]) -> Arrays | None:
        """What is kept already for a side at a cut."""
        key, facts = self._named(images, cut, view)
        return self.cache.find(key, facts, len(images), keep_going=keep_going)

    def arrays(self, images: Images, cut: Cut, view: int | None, *, keep_going: Callable[[], bool]) -> Arrays | None:
        """A side's activations at a cut, in the side's order.

        Args:
            images: The side.
            cut: The boundary.
            view: Which of the fixed views; None is what evaluation sees.
            keep_going: Asked once a batch.

        Returns:
            None as soon as `keep_going` says False, and where there is no room for them.
        """
        found = self.find(images, cut, view, keep_going=keep_going)
        if found is not None or self._named(images, cut, view)[0] in self._without_room:
            return found
        if not self.on_the_way:
            return self._build(images, cut, view, None, keep_going)
        rungs = self.rungs(images, cut.unfreeze)
        if self.dtype is not None:
            rungs = rungs[-1:]  # what is rounded leads to no other boundary than its own
        source: tuple[Cut, Arrays] | None = None
        for rung in reversed(rungs[:-1]):
            kept = self.find(images, rung.cut, view, keep_going=keep_going)
            if kept is not None:
                source = (rung.cut, kept)
                break
        allowed = self.cache.allowed() / max(1, len(images))
        room = min(ROOM * allowed, allowed - rungs[-1].nbytes)
        since = 0.0
        for rung in rungs:
            if source is not None and rung.cut.unfreeze >= source[0].unfreeze:
                continue
            since += rung.seconds
            last = rung.cut.unfreeze == cut.unfreeze
            if not last and not self._pays(rung, since, room, len(images)):
                continue
            arrays = self._build(images, rung.cut, view, source, keep_going, needed=last)
            if last or not keep_going():
                return arrays if last else None
            if arrays is not None:
                source, since, room = (rung.cut, arrays), 0.0, room - rung.nbytes
        return None

    def _pays(self, rung: Rung, seconds: float, room: float, images: int) -> bool:
        """Whether a rung on the way is kept for whom it may concern: for one more use at least, in the room left."""
        if rung.nbytes > room:
            return False
        return worth_keeping(seconds=seconds, nbytes=rung.nbytes, images=images, passes=2).keep

    def _build(
        self,
        images: Images,
        cut: Cut,
        view: int | None,
        source: tuple[Cut, Arrays] | None,
        keep_going: Callable[[], bool],
        *,
        needed: bool = True,
    ) -> Arrays | None:
        """Makes a boundary; one that this trial does not need is made on disk or not at all."""
        key, facts = self._named(images, cut, view)

        def produce() -> Iterator[Inputs]:
            with torch.inference_mode():
                for values in self._values(images, cut, view, source):
                    yield tuple(self._kept(tensor).cpu() for tensor in values)

        try:
            arrays = self.cache.get(key, facts, len(images), produce, keep_going=keep_going, disk_only=not needed)
        except NoRoom as error:
            if not needed:
                return None
            self._without_room.add(key)
            self.note(f"activations of {len(images):,} images are computed anew in every epoch: {error}")
            return None
        if arrays is not None and arrays.note:
            self.note(arrays.note)
        return arrays

    def _values(
        self, images: Images, cut: Cut, view: int | None, source: tuple[Cut, Arrays] | None
    ) -> Iterator[Inputs]:
        way = None if source is None else self.cuts.between(source[0], cut)
        parts = torch.split(torch.arange(len(images)), self.placement.eval_batch)
        done = 0
        if source is not None and way is not None:
            for part in parts:
                rows = source[1].rows(part)
                if rows is None:  # altered or removed meanwhile: the rest comes from the images
                    break
                with self.placement.autocast():
                    yield self.halving(way, tuple(self.loaded(tensor) for tensor in rows))
                done += 1
        if done < len(parts):
            for inputs in islice(images.plain() if view is None else images.view(view), done, None):
                with self.placement.autocast():
                    yield self.halving(cut.prefix, inputs)

    def live(self, cut: Cut, inputs: Inputs) -> Inputs:
        """The boundary of a batch, as training from kept activations would see it."""
        with torch.inference_mode(), self.placement.autocast():
            values = self.halving(cut.prefix, inputs)
        # Tensors of the inference mode cannot be saved for the backward pass; copies of them can.
        return tuple(self.loaded(self._kept(tensor)).clone() for tensor in values)

    def loaded(self, tensor: torch.Tensor) -> torch.Tensor:
        """A kept tensor on the device, in a type that the trained part takes."""
        moved = self.placement.tensor(tensor)
        return moved.float() if self.dtype is not None and moved.is_floating_point() else moved

    def _kept(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if self.dtype is None or not tensor.is_floating_point() else tensor.to(self.dtype)

    def _named(self, images: Images, cut: Cut, view: int | None) -> tuple[str, dict[str, str | int]]:
        """The key of a side's activations, and what a person wants to know of them."""
        seen = images.seen(view)
        key = fingerprint(
            version=VERSION,
            weights=self.weights,
            boundary=cut.fingerprint,
            side=images.digest,
            seen=seen,
            dtype=str(self.dtype),
            device=torch.device(self.placement.device).type,
            torch=torch.__version__,
        )
        shown = "unvaried" if view is None or images.policy is None else f"{images.policy.name} {view}"
        return key, {
            "backbone": self.cuts.name,
            "unfreeze": cut.unfreeze,
            "img_size": images.preprocess.img_size,
            "view": shown,
            "images": len(images),
        }


class BoundaryFeed:
    """A side as the trained part of a network sees it.

    Args:
        images: The side.
        boundaries: What the frozen part says.
        cut: The boundary.
        keep: Whether activations are kept; a policy that is drawn afresh in every epoch never is.
        keep_going: Asked while activations are computed; when it says no, an epoch ends early.
    """

    def __init__(
        self, images: Images, boundaries: Boundaries, cut: Cut, *, keep: bool, keep_going: Callable[[], bool]
    ) -> None:
        self.images, self.boundaries, self.cut, self.keep, self.keep_going = images, boundaries, cut, keep, keep_going
        self.targets = images.placement.tensor(images.targets)
        self._open: dict[int | None, tuple[Arrays, Held]] = {}

    def __len__(self) -> int:
        return len(self.images)

    def epoch(
        self, epoch: int, batch_size: int, *, cuts: Sequence[int] | None = None
    ) -> Iterator[tuple[Inputs, torch.Tensor]]:
        """See `autotune.vision.Images.epoch`."""
        images = self.images
        keeps = self.keep and (images.fixed or images.views > 0)
        view = None if images.fixed else epoch % max(1, images.views)
        found = self._arrays(view) if keeps else None
        if found is None:
            if self.keep_going():
                for pixels, targets in images.epoch(epoch, batch_size, cuts=cuts):
                    yield self.boundaries.live(self.cut, pixels), targets
            return
        parts = images.order(epoch, batch_size, cuts)
        on_device = torch.split(images.placement.tensor(torch.cat(list(parts))), [len(part) for part in parts])
        for inputs, part in zip(self._batches(view, parts), on_device, strict=True):
            yield inputs, self.targets[part]

    def plain(self) -> Iterator[Inputs]:
        """See `autotune.vision.Feed.plain`."""
        found = self._arrays(None) if self.keep else None
        if found is None:
            for inputs in self.images.plain():
                yield self.boundaries.live(self.cut, inputs)
            return
        yield from self._batches(None, torch.split(torch.arange(len(self)), self.images.placement.eval_batch))

    def _arrays(self, view: int | None) -> tuple[Arrays, Held] | None:
        """Activations of a view, and, where a GPU has room for them, all of them there."""
        held = self._open.get(view)
        if held is not None and held[0].intact():
            return held
        arrays = self.boundaries.arrays(self.images, self.cut, view, keep_going=self.keep_going)
        if arrays is None:
            return None
        if held is not None:
            held[1].tensors = ()  # of an entry that is gone: the new one may have the room
        self._open[view] = (arrays, self.boundaries.residents.hold(arrays))
        return self._open[view]

    def _batches(self, view: int | None, parts: Sequence[torch.Tensor]) -> Iterator[Inputs]:
        """The rows of each part; for a GPU that does not hold them, pinned and one batch ahead."""
        if self._open[view][1].tensors or not self.images.placement.is_cuda:
            yield from (self._rows(view, part) for part in parts)
            return
        for read, part in zip(ahead(self._pinned(view, part) for part in parts), parts, strict=True):
            yield self._rows(view, part) if read is None else tuple(self.boundaries.loaded(t) for t in read)

    def _pinned(self, view: int | None, part: torch.Tensor) -> Inputs | None:
        """Some rows of a view in pinned memory; None where they were altered or removed."""
        rows = self._open[view][0].rows(part)
        return None if rows is None else tuple(tensor.pin_memory() for tensor in rows)

    def _rows(self, view: int | None, part: torch.Tensor) -> Inputs:
        """Some rows of a view; what was altered or removed since the last batch is made anew first."""
        rows = self._kept(self._open[view], part)
        if rows is None and (anew := self._arrays(view)) is not None:
            rows = self._kept(anew, part)
        return self.boundaries.live(self.cut, (self.images.rows(part, view),)) if rows is None else rows

    def _kept(self, found: tuple[Arrays, Held], part: torch.Tensor) -> Inputs | None:
        """Some rows of what is open, on the device; None where they were altered or removed."""
        arrays, held = found
        if held.tensors:
            indices = self.images.placement.tensor(part)
            return tuple(self.boundaries.loaded(tensor[indices]) for tensor in held.tensors)
        rows = arrays.rows(part)
        return None if rows is None else tuple(self.boundaries.loaded(tensor) for tensor in rows)


class BoundaryRows:
    """What crosses a boundary for some images of a side, as one vector an image: kept, or computed anew.

    Args:
        images: The side; every image is taken as evaluation sees it.
        boundaries: What the frozen part says.
        cut: A boundary that one tensor [N, D] crosses.
        keep_going: Asked while activations are computed ahead.

    Attributes:
        keeping: Whether they are kept, in a line for a person.
    """

    def __init__(self, images: Images, boundaries: Boundaries, cut: Cut, keep_going: Callable[[], bool]) -> None:
        self.images, self.boundaries, self.cut, self.keep_going = images, boundaries, cut, keep_going
        self.kept = boundaries.find(images, cut, None, keep_going=keep_going)
        self.keeping = FOUND
        if self.kept is None:
            self.kept, self.keeping = self._look(), "activations computed anew: there is no room for them"
            if self.kept is not None:
                self.keeping = f"activations kept ({self.kept.nbytes / 1e6:,.0f} MB)"

    def __len__(self) -> int:
        return len(self.images)

    def whole(self) -> torch.Tensor | Self:
        """All of them at once, float32 [N, D] on the device, where they are kept and not large; else these rows."""
        small = self.kept is not None and self.kept.nbytes <= COPIED
        return self.rows(torch.arange(len(self))) if small else self

    def rows(self, indices: torch.Tensor) -> torch.Tensor:
        """Vectors float32 [B, D] on the device, for images int64 [B] on the CPU."""
        rows = None if self.kept is None else self.kept.rows(indices)
        if rows is None and self.kept is not None:
            self.kept = self._look()
            rows = None if self.kept is None else self.kept.rows(indices)
        if rows is not None:
            return self.boundaries.loaded(rows[0]).float()
        size = self.images.placement.eval_batch
        parts = (self.boundaries.live(self.cut, (self.images.rows(part),))[0] for part in torch.split(indices, size))
        return torch.cat([part.float() for part in parts])

    def _look(self) -> Arrays | None:
        return self.boundaries.arrays(self.images, self.cut, None, keep_going=self.keep_going)
