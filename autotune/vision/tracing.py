"""What a network computes, written down while it computes.

In `trace` every submodule whose tensors all lie in one block, or in the head, counts as one step; a submodule without
tensors, e.g. a pooling, does too, and only what lies between them is followed operation by operation. `operations`
follows everything. The network really runs, so that loops, branches and shapes are what they are; it runs once for each
of two batch sizes, and a number that differs between the two runs is a multiple of the batch size.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from autotune.vision.steps import Batch, Ref, Step, Untraceable, refs

SIZES = (2, 3)
"""Images in the two runs; one alone would be taken for a size that broadcasts."""

READS = {"item", "tolist", "numpy", "equal", "allclose", "is_nonzero"} | {
    f"__{name}__" for name in ("bool", "int", "float", "index", "contains", "array")
}
"""What turns a tensor's values into numbers, which another batch would change."""

LITERALS = (bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format)
"""What may be passed between blocks beside tensors."""

Function: TypeAlias = Callable[..., Any]


def followed(module: torch.nn.Module, levels: Mapping[str, int]) -> list[torch.nn.Module]:
    """The submodules whose mode decides which steps are taken: all but those that are one step with its own tensors."""
    inside = {id(c) for part, _, level in _Places(module, levels).parts if level >= 0 for c in part.modules()}
    return [child for child in module.modules() if id(child) not in inside]


def trace(module: torch.nn.Module, levels: Mapping[str, int], images: torch.Tensor) -> tuple[list[Step], int]:
    """The steps from images to logits, and the place of the logits among them.

    Args:
        module: The network, each submodule in the mode in which it is to be followed.
        levels: The level of every parameter and buffer, by name: its block's number from the stem, the head's above.
        images: At least three, float [N, 3, S, S], on the module's device.

    Raises:
        Untraceable: The network does something that cannot be repeated for another batch.
    """
    steps, (end,) = _traced(module, _Places(module, levels), [images], several=False)
    return steps, end


def operations(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> tuple[list[Step], list[int]]:
    """Every operation from inputs to results, those inside of submodules too, and the places of the results.

    Args:
        module: In the mode in which it is to be followed; gives a tuple of tensors.
        inputs: Each of at least three rows, [N, ...]; the first steps.

    Raises:
        Untraceable: See `trace`; or a submodule uses a tensor that is neither parameter nor buffer, which it may keep
            from one call to the next.
    """
    levels = {name: 0 for name, _ in (*module.named_parameters(), *module.named_buffers())}
    return _traced(module, _Places(module, levels, whole=False), inputs, several=True)


def _traced(
    module: torch.nn.Module, places: _Places, inputs: Sequence[torch.Tensor], *, several: bool
) -> tuple[list[Step], list[int]]:
    """The steps, and the places of what the module gives: several tensors in a tuple, or one."""
    (few, ends), (many, others) = (
        _record(module, places, [rows[:size] for rows in inputs], several=several) for size in SIZES
    )
    if len(few) != len(many) or ends != others:
        raise Untraceable("it takes other steps for another number of images")
    return [_merged(one, two) for one, two in zip(few, many, strict=True)], ends


def _record(
    module: torch.nn.Module, places: _Places, inputs: Sequence[torch.Tensor], *, several: bool
) -> tuple[list[Step], list[int]]:
    recorder = _Recorder(module, places)
    handles = recorder.watch()
    try:
        with torch.no_grad(), recorder:
            given = recorder.run(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return recorder.finish(given if several else (given,))


def _merged(one: Step, two: Step) -> Step:
    if (one.kind, one.target, one.random, one.same) != (two.kind, two.target, two.random, two.same):
        raise Untraceable("it takes other steps for another number of images")
    return replace(
        one,
        args=_merge(one.args, two.args),
        kwargs=_merge(one.kwargs, two.kwargs),
        shape=_merge(one.shape, two.shape),
        changed=one.changed or two.changed,
    )


def _merge(one: Any, two: Any) -> Any:
    if type(one) is type(two):
        if isinstance(one, tuple | list) and len(one) == len(two):
            parts = [_merge(a, b) for a, b in zip(one, two, strict=True)]
            return parts if isinstance(one, list) else tuple(parts)
        if isinstance(one, dict) and one.keys() == two.keys():
            return {key: _merge(part, two[key]) for key, part in one.items()}
        if isinstance(one, slice):
            return slice(*(_merge(getattr(one, n), getattr(two, n)) for n in ("start", "stop", "step")))
        if one == two:
            return one
        if type(one) is int:
            few, many = SIZES
            times, rest = divmod(two - one, many - few)
            if rest == 0:
                return Batch(times, one - times * few)
    raise Untraceable(f"{one!r} depends on the number of images, and on more than that")


class _Places:
    """Where a network's tensors and submodules lie.

    Args:
        module: The network.
        levels: Of its parameters and buffers, by name.
        whole: Whether submodules count as one step; else none does, and only named tensors are known.

    Attributes:
        names: Of parameters and buffers, by identity.
        levels: Of the same.
        parts: Every submodule that may count as one step, with its name and level, -1 without tensors.
    """

    def __init__(self, module: torch.nn.Module, levels: Mapping[str, int], *, whole: bool = True) -> None:
        self._module, self._whole = module, whole
        self.names = {id(t): name for name, t in [*module.named_parameters(), *module.named_buffers()]}
        self.levels = {key: levels[name] for key, name in self.names.items()}
        self.parts: list[tuple[torch.nn.Module, str, int]] = []
        self._found: dict[torch.nn.Module, frozenset[int]] = {}
        self._find(module)
        for name, child in module.named_modules():
            if whole and name and len(self._found[child]) <= 1:
                self.parts.append((child, name, max(self._found[child], default=-1)))

    def _find(self, module: torch.nn.Module) -> frozenset[int]:
        """The levels of all tensors in a module, which may be shared by several others."""
        if module not in self._found:
            own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
            levels = frozenset(self.levels[id(t)] for t in own)
            self._found[module] = levels.union(*(self._find(child) for child in module.children()))
        return self._found[module]

    @cached_property
    def constants(self) -> dict[int, str]:
        """Names of tensors that submodules hold as plain attributes, by identity."""
        names: dict[int, str] = {}
        for name, child in self._module.named_modules() if self._whole else ():
            for key, value in vars(child).items():
                if key not in ("_parameters", "_buffers", "_modules"):
                    names |= {id(t): f"{name}.{key}.{at}".lstrip(".") for at, t in enumerate(_tensors(value))}
        return names


class _Recorder(TorchFunctionMode):
    """Writes down one run."""

    def __init__(self, module: torch.nn.Module, places: _Places) -> None:
        super().__init__()
        self._module = module
        self._steps: list[Step] = []
        self._seen: dict[int, tuple[torch.Tensor, int, int]] = {}
        self._open: tuple[torch.nn.Module, Any] | None = None
        self._inside = False
        self._places = places
        self._device = next(module.parameters()).device

    def watch(self) -> list[RemovableHandle]:
        """Hooks on every submodule that may count as one step; the outermost of them does."""
        handles = []
        for child, name, level in self._places.parts:
            handles.append(child.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True))
            handles.append(child.register_forward_hook(self._leaver(name, level), with_kwargs=True))
        return handles

    def run(self, inputs: Sequence[torch.Tensor]) -> Any:
        """Runs the network; its inputs are the first steps."""
        self._inside = True
        for at, rows in enumerate(inputs):
            self._add(Step(kind="images", target="images" if at == 0 else f"images {at}", kwargs={}), rows)
        self._inside = False
        return self._module(*inputs)

    def finish(self, given: Sequence[Any]) -> tuple[list[Step], list[int]]:
        """The steps, and the places of what the network gave."""
        for result in given:
            if not isinstance(result, torch.Tensor):
                raise Untraceable(f"it gives {type(result).__name__}, no tensor of logits")
        ends = [self._encode(result).place for result in given]
        for tensor, place, version in self._seen.values():
            if tensor._version != version and self._steps[place].kind != "tensor":
                self._steps[place] = replace(self._steps[place], changed=True)
        return self._steps, ends

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls a function of torch, and writes it down if it gives tensors."""
        kwargs = kwargs or {}
        if self._inside:
            return func(*args, **kwargs)
        self._inside = True
        try:
            return self._call(func, args, kwargs)
        finally:
            self._inside = False

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = getattr(func, "__name__", "")
        writes = func is torch.Tensor.__setitem__
        before = self._draws()
        try:
            encoded: Any = (self._encode(args), self._encode(kwargs))
        except Untraceable as reason:
            encoded = reason
        result = func(*args, **kwargs)
        if not writes and not any(True for _ in _tensors(result)):
            if name in READS and any(self._is_ours(t) for t in _tensors(args)):
                raise Untraceable(f"it reads the values of a tensor ({name})")
            return result
        if isinstance(encoded, Untraceable):
            raise encoded
        kind, target = _called(func)
        self._add(
            Step(kind=kind, target=target, args=encoded[0], kwargs=encoded[1], random=before != self._draws()),
            args[0] if writes else result,
        )
        return result

    def _enter(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if not self._inside:
            self._inside = True
            self._open = module, (self._encode(args), self._encode(kwargs), self._draws())

    def _leaver(self, name: str, level: int) -> Callable[..., None]:
        def leave(module: torch.nn.Module, _args: Any, _kwargs: Any, result: Any) -> None:
            if self._open is not None and self._open[0] is module:
                args, kwargs, before = self._open[1]
                self._open = None
                drawn = before != self._draws()
                self._add(Step(kind="module", target=name, args=args, kwargs=kwargs, own=level, random=drawn), result)
                self._inside = False

        return leave

    def _add(self, step: Step, result: Any) -> Ref:
        place = len(self._steps)
        if isinstance(result, torch.Tensor):
            known = self._seen.get(id(result))
            if known is not None and known[2] != result._version:
                self._steps[known[1]] = replace(self._steps[known[1]], changed=True)
            elif known is not None and known[1] in refs((step.args, step.kwargs)):
                step = replace(step, same=known[1])
            self._steps.append(replace(step, shape=tuple(result.shape)))
            self._seen[id(result)] = (result, place, result._version)
            return Ref(place)
        self._steps.append(step)
        if isinstance(result, tuple | list | dict):
            for key, part in result.items() if isinstance(result, dict) else enumerate(result):
                if any(True for _ in _tensors(part)):
                    self._add(Step(kind="item", target="item", args=(Ref(place), key), kwargs={}), part)
        return Ref(place)

    def _encode(self, value: Any) -> Any:
        """Arguments with references in the place of tensors."""
        if isinstance(value, torch.Tensor):
            return self._place(value)
        if isinstance(value, tuple):
            return tuple(self._encode(part) for part in value)
        if isinstance(value, list):
            return [self._encode(part) for part in value]
        if isinstance(value, dict):
            return {key: self._encode(part) for key, part in value.items()}
        if isinstance(value, slice):
            return slice(*(self._encode(part) for part in (value.start, value.stop, value.step)))
        if value is None or value is Ellipsis or isinstance(value, LITERALS):
            return value
        raise Untraceable(f"it passes a {type(value).__name__} between its blocks")

    def _place(self, tensor: torch.Tensor) -> Ref:
        known = self._seen.get(id(tensor))
        if known is not None:
            if known[2] != tensor._version and self._steps[known[1]].kind != "tensor":
                raise Untraceable("it writes into a tensor that it uses again")
            return Ref(known[1])
        name = self._places.names.get(id(tensor)) or self._places.constants.get(id(tensor))
        if name is None:
            raise Untraceable(f"a tensor of shape {tuple(tensor.shape)} has no known origin")
        value = None if id(tensor) in self._places.names else tensor
        own = self._places.levels.get(id(tensor), -1)
        return self._add(Step(kind="tensor", target=name, kwargs={}, own=own, value=value), tensor)

    def _is_ours(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self._seen or id(tensor) in self._places.names

    def _draws(self) -> tuple[Any, ...]:
        """The states of the generators of random numbers."""
        device = torch.cuda.get_rng_state(self._device).numpy().tobytes() if self._device.type == "cuda" else b""
        return torch.get_rng_state().numpy().tobytes(), device, random.getstate()


def _called(func: Any) -> tuple[str, str | Function]:
    """How a function of torch is called again."""
    name = getattr(func, "__name__", "")
    if func is torch.Tensor.__setitem__:
        return "function", set_item
    if name == "__get__":
        return "attribute", str(func.__self__.__name__)
    if getattr(torch.Tensor, name, None) is func:
        return "method", name
    return "function", func


def set_item(target: torch.Tensor, index: Any, value: Any) -> torch.Tensor:
    """Writes into a tensor, and gives it back."""
    target[index] = value
    return target


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
