"""What was found wrong with images, as a page of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autotune.byte_sizes import format_bytes
from autotune.indexing.profile import printable
from autotune.reporting.records import as_json

if TYPE_CHECKING:
    from autotune.inspecting import Case, Finding, Inspection

SHOWN = 10
"""Cases of one finding that are printed; --json has up to a thousand."""
_STAGES = {"headers": "headers and end markers", "images": "decoding", "probe": "linear probe"}


def page(inspection: Inspection) -> str:
    """Everything that was found, the gravest first."""
    lines = [*_opening(inspection)]
    for finding in inspection.findings:
        lines += ["", *_finding(finding)]
    if not inspection.findings:
        lines += ["", "nothing is the matter with them"]
    if inspection.problem is None:
        lines += ["", "a search would start"]
    return "\n".join(map(printable, lines))


def record(inspection: Inspection) -> dict[str, Any]:
    """The same as json types; ``starts`` says whether a search would start."""
    found: dict[str, Any] = as_json(inspection)
    return {"location": inspection.location, "starts": inspection.problem is None, **_printable(found)}


def _opening(inspection: Inspection) -> Iterator[str]:
    size = "" if inspection.nbytes is None else f", {format_bytes(inspection.nbytes)}"
    yield f"{inspection.location}: {inspection.images:,} images{size}"
    for stage in inspection.stages:
        known = f" ({stage.known:,} were known)" if stage.known else ""
        pace = f", {stage.images / stage.seconds:,.0f} a second" if stage.seconds else ""
        yield f"{_STAGES[stage.name]}: {stage.images:,} in {stage.seconds:.1f} s{pace}{known}"
    yield from inspection.lines


def _finding(finding: Finding) -> Iterator[str]:
    yield finding.summary
    for case in finding.cases[:SHOWN]:
        yield f"  {_case(case)}"
        if case.thumbnail is not None:
            yield f"    {case.thumbnail}"
    rest = len(finding.cases) - SHOWN
    if rest > 0:
        yield f"  ... and {rest:,} more with --json"
    if finding.hint:
        yield f"  {finding.hint}"


def _case(case: Case) -> str:
    images = " = ".join(case.images[:4]) + (f" and {len(case.images) - 4} more" if len(case.images) > 4 else "")
    return ": ".join(filter(None, [images, case.note]))


def _printable(value: Any) -> Any:
    """Json types with file names of unknown encoding as escapes, which no json reader would take otherwise."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _printable(one) for key, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, list) else value
