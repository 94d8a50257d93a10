"""What commands print of backbones and plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from autotune.backbone import Facts
from autotune.byte_sizes import format_bytes
from autotune.cache_entries import Contents
from autotune.plugins import PluginInfo
from autotune.reporting.tables import plain

if TYPE_CHECKING:
    from autotune.engine.cleaning import Cleaned
    from autotune.engine.salvage import Salvaged


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


def salvaged(done: Salvaged) -> str:
    """What came of a damaged journal: what was restored, and what is lost."""
    if done.copy is None and not (done.restored or done.lost):
        return f"{done.journal}: {done.trials} trials, and nothing is wrong with it"
    lines = [f"{done.journal}: rebuilt, {done.trials} trials"]
    lines += [f"damaged: {line}" for line in done.damage]
    lines += [f"restored: {line}" for line in done.restored]
    lines += [f"lost: {line}" for line in done.lost] or ["lost: nothing"]
    if done.copy is not None:
        lines.append(f"the damaged one is kept as {done.copy.name}")
    return "\n".join([*lines, f"go on with: autotune search {done.journal.parent}"])


def cleaned(done: Cleaned) -> str:
    """How much of a study was removed, and what it was."""
    kinds: dict[str, list[int]] = {}
    for removal in done.removed:
        kinds.setdefault(removal.why, []).append(removal.nbytes)
    lines = [f"{format_bytes(sum(sizes))}  {why}" for why, sizes in kinds.items()]
    lines += [f"kept, for it cannot be removed: {line}" for line in done.denied]
    return "\n".join([*lines, f"{format_bytes(done.nbytes)} {'would be freed' if done.dry else 'freed'}"])


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
