"""What commands print of backbones and plugins."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.backbone import Facts
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


def _sizes(facts: Facts) -> str:
    return f"multiples of {facts.size_step}" if facts.sizes == "multiple" else facts.sizes


def _origin(info: PluginInfo) -> str:
    return f"{info.distribution or 'this process'} {info.version or ''}".rstrip()


def _offers(info: PluginInfo) -> str:
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in info.offers.items() if names)
