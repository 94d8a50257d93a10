"""What commands print of backbones and plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from autotune.backbone import Facts
from autotune.byte_sizes import format_bytes
from autotune.cache_entries import Contents
from autotune.plugins import PluginInfo
from autotune.reporting.tables import plain


def backbones(found: Sequence[Facts]) -> str:
    """A table of backbones."""
    head = ["backbone", "params (M)", "blocks", "px", "sizes", "cost (GMAC)", "licence"]
    rows = [
        [f.name, round(f.params / 1e6, 2), f.blocks, f.input_size, _sizes(f), f.cost and round(f.cost, 2), f.licence]
        for f in found
    ]
    return plain(head, rows)


def plugins(found: Sequence[PluginInfo]) -> str:
    """A table of plugins, and below it what is wrong with those that were skipped."""
    rows = [[p.name, _origin(p), "skipped" if p.problem else _offers(p)] for p in found]
    lines = [plain(["plugin", "from", "offers"], rows)]
    lines += [f"{p.name} was skipped: {p.problem}" for p in found if p.problem]
    return "\n".join(lines)


def cache(found: Contents) -> str:
    """A table of what was computed once, below it how much that is and may be, and what of it is damaged."""
    rows = [
        [e.kind, _made_from(e.facts), format_bytes(e.nbytes), f"{datetime.fromtimestamp(e.used):%Y-%m-%d %H:%M}"]
        for e in found.entries
        if e.problem is None
    ]
    table = [plain(["kind", "what", "size", "last used"], rows)] if rows else []
    total = f"{format_bytes(found.nbytes)} of {format_bytes(found.limit)}"
    lines = [*table, f"{total} in {found.path}; --cache-size of a search sets another limit"]
    damaged = (e for e in found.entries if e.problem is not None)
    return "\n".join([*lines, *(f"{e.kind}/{e.key}, {format_bytes(e.nbytes)}: {e.problem}" for e in damaged)])


def _made_from(facts: Mapping[str, Any]) -> str:
    """What stands in the facts of an entry, as far as it can be read at a glance."""
    plainly = {k: v for k, v in facts.items() if isinstance(v, str | int | float) and v is not True and v is not False}
    return ", ".join(str(v) if k in ("backbone", "what") else f"{k} {v}" for k, v in plainly.items()) or "-"


def _sizes(facts: Facts) -> str:
    return f"multiples of {facts.size_step}" if facts.sizes == "multiple" else facts.sizes


def _origin(info: PluginInfo) -> str:
    return f"{info.distribution or 'this process'} {info.version or ''}".rstrip()


def _offers(info: PluginInfo) -> str:
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in info.offers.items() if names)
