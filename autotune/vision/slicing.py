"""Parts of a traced network that run on their own."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from autotune.vision.steps import Batch, Ref, Step, Untraceable, refs


class Flow:
    """The steps of a network in one mode, and what each of them depends on.

    Args:
        steps: As they were traced.
        end: The place of the logits.
        first: The level of the lowest block that is trained.

    Attributes:
        levels: Of every step: the highest among its own block's and its inputs'; above all where it is random.
        seen: Whether a step depends on what the images show, and not on weights alone.
        digests: Of how every step is computed, hexadecimal, without the rates of what is random. What gives a tensor
            back as it is has the digest of that tensor.
    """

    def __init__(self, steps: Sequence[Step], end: int, first: int = 0) -> None:
        self.steps, self.end, self.first = steps, end, first
        self.levels: list[float] = []
        self.seen: list[bool] = []
        self.digests: list[str] = []
        for step in steps:
            inputs = list(refs((step.args, step.kwargs)))
            level = max([step.own, *(self.levels[i] for i in inputs)])
            # A block beneath the first is not in training, whatever it was when it was traced.
            drawn = step.random and not 0 <= step.own < first
            self.levels.append(float("inf") if drawn else level)
            self.seen.append(step.kind == "images" or any(self.seen[i] for i in inputs))
            self.digests.append(self.digests[step.same] if step.same is not None else self._digest(step))

    def frontier(self) -> list[int]:
        """Places of the values beneath the first trained block that something at or above it uses.

        A step that gives its input back unchanged, e.g. a dropout that is off, stays with those that use it.
        """
        found: set[int] = set()
        waiting, known = [self.end], {self.end}
        while waiting:
            place = waiting.pop()
            if self._is_below(place):
                found.add(place)
                continue
            for source in refs((self.steps[place].args, self.steps[place].kwargs)):
                if source not in known:
                    known.add(source)
                    waiting.append(source)
        return sorted(found)

    def name(self, digest: str) -> str:
        """The submodule or function that gives a value."""
        step, keys = self.steps[self.digests.index(digest)], ""
        while step.kind == "item":
            keys = f"[{step.args[1]}]{keys}"
            step = self.steps[step.args[0].place]
        return f"{getattr(step.target, '__name__', step.target)}{keys}"

    def part(self, module: torch.nn.Module, given: Sequence[str], wanted: Sequence[str] | None) -> torch.fx.GraphModule:
        """The part between some values and others, with the network's own modules and parameters.

        Args:
            module: The network.
            given: Digests of what is passed in, in this order.
            wanted: Digests of what comes out, as a tuple; None for the logits.

        What is passed in or out has one row for each image: several are folded into one.

        Raises:
            Untraceable: More than what is given is needed, or something has no rows of each image.
        """
        ends = [self.end] if wanted is None else [self._place(digest) for digest in wanted]
        needed = self._needed(ends, given)
        part = _Part(module, self.steps)
        for digest in given:
            changed = any(self.steps[p].changed for p in needed if self.digests[p] == digest)
            part.take(digest, self._rows(digest), changed=changed)
        for place in sorted(needed):
            if self._is_given(place, given):
                part.nodes[place] = part.taken[self.digests[place]]
            else:
                part.add(place)
        if wanted is None:
            return part.finish(part.nodes[self.end])
        folded = zip(ends, wanted, strict=True)
        return part.finish(tuple(part.folded(part.nodes[place], self._rows(digest)) for place, digest in folded))

    def _rows(self, digest: str) -> int:
        """How many rows a value has for each image."""
        match self.steps[self._place(digest)].shape:
            case (Batch(times=times, plus=0), *_) if times > 0:
                return times
        raise Untraceable(f"what crosses after {self.name(digest)} has no row for each image")

    def _is_below(self, place: int) -> bool:
        return self.seen[place] and self.levels[place] < self.first and self.steps[place].same is None

    def _is_given(self, place: int, given: Sequence[str]) -> bool:
        return self.steps[place].same is None and self.digests[place] in given

    def _place(self, digest: str) -> int:
        if digest not in self.digests:
            raise Untraceable("it computes what is frozen otherwise in training than in evaluation")
        return self.digests.index(digest)

    def _needed(self, ends: Sequence[int], given: Sequence[str]) -> set[int]:
        needed, waiting = set(ends), list(ends)
        while waiting:
            place = waiting.pop()
            if self._is_given(place, given):
                continue
            step = self.steps[place]
            if step.kind == "images":
                raise Untraceable("its trained part needs the images themselves")
            for source in refs((step.args, step.kwargs)):
                if source not in needed:
                    needed.add(source)
                    waiting.append(source)
        return needed

    def _digest(self, step: Step) -> str:
        target = step.target if isinstance(step.target, str) else f"{step.target.__module__}.{step.target.__name__}"
        hidden = step.random and step.kind != "module"
        content = (step.kind, target, self._told(step.args, hidden), self._told(step.kwargs, hidden))
        return hashlib.blake2b(repr(content).encode(), digest_size=12).hexdigest()

    def _told(self, value: Any, hidden: bool) -> Any:
        if isinstance(value, Ref):
            return ("value", self.digests[value.place])
        if isinstance(value, tuple | list):
            return [self._told(part, hidden) for part in value]
        if isinstance(value, Mapping):
            return [(key, self._told(value[key], hidden)) for key in sorted(value)]
        if isinstance(value, slice):
            return ("slice", self._told((value.start, value.stop, value.step), hidden))
        return "rate" if hidden and isinstance(value, float) else repr(value)


class _Part:
    """A graph in the making."""

    def __init__(self, module: torch.nn.Module, steps: Sequence[Step]) -> None:
        self._module, self._steps = module, steps
        self._graph = torch.fx.Graph()
        self._root: dict[str, Any] = {}
        self._first: torch.fx.Node | None = None
        self._size: torch.fx.Node | None = None
        self.nodes: dict[int, torch.fx.Node] = {}
        self.taken: dict[str, torch.fx.Node] = {}

    def take(self, digest: str, rows: int, *, changed: bool) -> None:
        """A value that is passed in; copied if it is written to, since it is the caller's."""
        given = self._graph.placeholder(f"given_{len(self.taken)}")
        self._first = self._first or given
        node = self._graph.call_method("flatten", (given, 0, 1)) if rows > 1 else given
        self.taken[digest] = self._graph.call_method("clone", (node,)) if changed else node

    def folded(self, node: torch.fx.Node, rows: int) -> torch.fx.Node:
        """A value with one row for each image, which holds the several that it had."""
        return self._graph.call_method("unflatten", (node, 0, (self._batch(), rows))) if rows > 1 else node

    def add(self, place: int) -> None:
        """A step."""
        step = self._steps[place]
        args, kwargs = self._filled(step.args), self._filled(dict(step.kwargs))
        if step.kind == "tensor":
            tensor = step.value if step.value is not None else _tensor(self._module, str(step.target))
            node = self._graph.get_attr(self._keep(str(step.target), tensor))
        elif step.kind == "module":
            name = self._keep(str(step.target), self._module.get_submodule(str(step.target)))
            node = self._graph.call_module(name, args, kwargs)
        elif step.kind == "method":
            node = self._graph.call_method(str(step.target), args, kwargs)
        elif step.kind == "attribute":
            node = self._graph.call_function(getattr, (args[0], step.target))
        elif step.kind == "item":
            node = self._graph.call_function(operator.getitem, args)
        else:
            node = self._graph.call_function(step.target, args, kwargs)
        self.nodes[place] = node

    def finish(self, result: Any) -> torch.fx.GraphModule:
        """The part as a module, which holds the network's own modules and tensors."""
        self._graph.output(result)
        return torch.fx.GraphModule(self._root, self._graph)

    def _batch(self) -> torch.fx.Node:
        """The number of images."""
        if self._size is None:
            shape = self._graph.call_function(getattr, (self._first, "shape"))
            self._size = self._graph.call_function(operator.getitem, (shape, 0))
        return self._size

    def _keep(self, name: str, value: Any) -> str:
        flat = "own_" + name.replace(".", "_")
        while self._root.get(flat, value) is not value:
            flat += "_"
        self._root[flat] = value
        return flat

    def _filled(self, value: Any) -> Any:
        if isinstance(value, Ref):
            return self.nodes[value.place]
        if isinstance(value, Batch):
            return self._graph.call_function(of_batch, (self._batch(), value.times, value.plus))
        if isinstance(value, tuple | list):
            return type(value)(self._filled(part) for part in value)
        if isinstance(value, dict):
            return {key: self._filled(part) for key, part in value.items()}
        if isinstance(value, slice):
            return slice(*(self._filled(part) for part in (value.start, value.stop, value.step)))
        return value


def of_batch(size: int, times: int, plus: int) -> int:
    """A number that depends on the batch size."""
    return size * times + plus


def _tensor(module: torch.nn.Module, name: str) -> torch.Tensor:
    parent, _, leaf = name.rpartition(".")
    tensor: torch.Tensor = getattr(module.get_submodule(parent), leaf)
    return tensor
