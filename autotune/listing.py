"""Lists of backbones, filtered by name, parameters, blocks and cost."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence

from autotune.backbone import Facts
from autotune.errors import UnknownName, UsageError
from autotune.plugins import Plugins, load_plugins


def backbone_names(patterns: Sequence[str] = (), *, plugins: Plugins | None = None) -> tuple[str, ...]:
    """Names ``source/name`` of the backbones of every source.

    Args:
        patterns: A name is listed if one of these is part of it, or matches it with ``*``; all without any.
        plugins: The plugins, if they are loaded already.

    Raises:
        UnknownName: Nothing matches; names that are near are proposed.
    """
    plugins = plugins or load_plugins()
    names = [
        f"{prefix}/{name}" for prefix in plugins.backbone_sources for name in plugins.backbone_source(prefix).names()
    ]
    found = tuple(n for n in names if not patterns or any(_matches(n, p) for p in patterns))
    if not found:
        raise UnknownName("backbone", " ".join(patterns), names)
    return found


def backbones(
    patterns: Sequence[str] = (),
    *,
    params: str | None = None,
    blocks: str | None = None,
    cost: str | None = None,
    plugins: Plugins | None = None,
) -> Iterator[Facts]:
    """Facts on the backbones that match, found by building each one.

    Args:
        patterns: See `backbone_names`.
        params: A maximum in millions, or ``MIN..MAX``.
        blocks: A maximum, or ``MIN..MAX``.
        cost: A maximum in 1e9 multiply-accumulates, or ``MIN..MAX``; a backbone whose cost is unknown is left out.
        plugins: The plugins, if they are loaded already.

    Raises:
        UsageError: A range is no number and no ``MIN..MAX``.
        UnknownName: No name matches.
    """
    plugins = plugins or load_plugins()
    ranges = {name: _range(name, text) for name, text in (("params", params), ("blocks", blocks), ("cost", cost))}
    return _facts(plugins, backbone_names(patterns, plugins=plugins), ranges)


def _facts(plugins: Plugins, names: Sequence[str], ranges: dict[str, tuple[float, float] | None]) -> Iterator[Facts]:
    for name in names:
        prefix, _, rest = name.partition("/")
        facts = plugins.backbone_source(prefix).backbone(rest).facts
        numbers = {"params": facts.params / 1e6, "blocks": facts.blocks, "cost": facts.cost}
        if all(_within(numbers[key], span) for key, span in ranges.items()):
            yield facts


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern if "*" in pattern or "?" in pattern else f"*{pattern}*")


def _range(name: str, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    low, dots, high = text.partition("..")
    try:
        return (float(low or 0), float(high or "inf")) if dots else (0.0, float(text))
    except ValueError:
        raise UsageError(f"{name}={text!r}: write a maximum such as 20, or a range such as 5..20") from None


def _within(value: float | None, span: tuple[float, float] | None) -> bool:
    return span is None or (value is not None and span[0] <= value <= span[1])
