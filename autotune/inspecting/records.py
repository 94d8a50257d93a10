"""What an inspection says: frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KEPT = 1000
"""Cases of one finding that are told; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One image, or several that belong together, e.g. copies.

    Attributes:
        images: What the source calls them.
        note: What is the matter, where the finding does not say it all.
        thumbnail: A picture of them side by side, where one was made.
    """

    images: tuple[str, ...]
    note: str = ""
    thumbnail: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of thing that was found.

    Attributes:
        kind: ``broken``, ``conflicts``, ``copies``, ``near_conflicts``, ``near_sides``, ``tiny``, ``huge``,
            ``shape``, ``few`` or ``suspects``.
        summary: One line for people.
        count: Images that it is about; of ``few``, classes.
        cases: The worst first, up to `KEPT`.
        hint: What to do about it.
    """

    kind: str
    summary: str
    count: int
    cases: tuple[Case, ...]
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One round of looking.

    Attributes:
        name: ``headers``, ``images`` or ``probe``.
        images: How many were looked at.
        known: How many of them were known from before.
        seconds: How long that took.
    """

    name: str
    images: int
    known: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Everything that was found at one place.

    Attributes:
        location: The place, as the person wrote it.
        images: How many it lists.
        counts: Images that can be used of each class.
        nbytes: Size of the files, where there are files.
        stages: What was done, in order.
        lines: What the images are like, for people.
        findings: What is the matter with them, the gravest first.
        problem: Why a search would not start; None if it would.
        hint: What to do about that.
    """

    location: str
    images: int
    counts: Mapping[str, int]
    nbytes: int | None
    stages: tuple[Stage, ...]
    lines: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    problem: str | None = None
    hint: str | None = None

    def finding(self, kind: str) -> Finding | None:
        """The finding of one kind, if there is one."""
        return next((finding for finding in self.findings if finding.kind == kind), None)
