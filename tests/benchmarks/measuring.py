"""Measuring in alternation: sides that take turns, figures by round, and what is told of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Figures: TypeAlias = Mapping[str, float]
Sense: TypeAlias = Literal["at least", "at most"]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a ratio must reach."""

    sense: Sense
    value: float

    def met(self, value: float) -> bool:
        """Whether a value reaches it."""
        return value >= self.value if self.sense == "at least" else value <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.sense == 'at least' else '<='} {self.value:g}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        name: For instance ``P1 k=2``.
        title: What is compared with what.
        value: The ratio, or whatever is to be reached, from the figures of one round.
        figures: Names of the figures that it is made of; both sides, to be shown with it.
        goal: None for a line that is told for comparison only.
    """

    name: str
    title: str
    value: Callable[[Figures], float]
    figures: tuple[str, ...]
    goal: Goal | None = None


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Sides that take turns, and the rows that come of their figures.

    Attributes:
        sides: Each runs once a round and returns its figures by name, e.g. ``{"bare img/s": 512.0}``.
        rows: What is told.
        bare: The sides that are baselines; they can be run without the others.
        warmups: Rounds before the ones that count.
        least: Rounds that count, at least; for sides of milliseconds.
        rounds: Rounds that count whatever is asked for, e.g. one a seed; None leaves it to the caller.
        notes: Asked at the end: what the trials said of themselves.
        close: Called at the end, whatever happens.
    """

    sides: Mapping[str, Callable[[], Figures]]
    rows: Sequence[Row]
    bare: tuple[str, ...] = ()
    warmups: int = 1
    least: int = 1
    rounds: int | None = None
    notes: Callable[[], Sequence[str]] = tuple
    close: Callable[[], None] = lambda: None

    def counted(self, asked: int) -> int:
        """How many rounds count, when so many are asked for."""
        return self.rounds or max(asked, self.least)


@dataclass(frozen=True, kw_only=True)
class Result:
    """A row, measured.

    Attributes:
        values: One a round.
        figures: One a round, by name.
        notes: What the trials said of themselves.
        apart: Medians of the baselines' figures under other conditions, by condition.
    """

    name: str
    title: str
    goal: Goal | None
    values: tuple[float, ...]
    figures: Mapping[str, tuple[float, ...]]
    notes: tuple[str, ...] = ()
    apart: Mapping[str, Figures] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The middle of the rounds' values; of the ratios, not the ratio of the figures' middles."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """``yes`` or ``no``, or nothing where there is no goal."""
        return "" if self.goal is None else "yes" if self.goal.met(self.median) else "no"

    def to_record(self) -> dict[str, Any]:
        """As json types."""
        return {
            "name": self.name,
            "title": self.title,
            "goal": None if self.goal is None else str(self.goal),
            "met": None if self.goal is None else self.goal.met(self.median),
            "median": self.median,
            "lowest": min(self.values),
            "highest": max(self.values),
            "rounds": len(self.values),
            "values": list(self.values),
            "figures": {
                name: {"median": statistics.median(of), "lowest": min(of), "highest": max(of), "values": list(of)}
                for name, of in self.figures.items()
            },
            "notes": list(self.notes),
            "apart": {condition: dict(figures) for condition, figures in self.apart.items()},
        }


def alternate(sides: Mapping[str, Callable[[], Figures]], rounds: int, warmups: int = 1) -> list[dict[str, float]]:
    """Lets the sides take turns and returns the figures of every round that counts.

    Every other round runs backwards, so that a machine that slows down favours nobody: A B, B A, A B, ...
    """
    counted: list[dict[str, float]] = []
    names = list(sides)
    for number in range(-warmups, rounds):
        figures: dict[str, float] = {}
        for name in names if number % 2 == 0 else reversed(names):
            figures.update(sides[name]())
        if number >= 0:
            counted.append(figures)
    return counted


def results(measure: Measure, rounds: int) -> Iterator[Result]:
    """Runs a measure and yields its rows."""
    try:
        counted = alternate(measure.sides, measure.counted(rounds), measure.warmups)
        notes = tuple(dict.fromkeys(measure.notes()))
    finally:
        measure.close()
    for row in measure.rows:
        yield Result(
            name=row.name,
            title=row.title,
            goal=row.goal,
            values=tuple(row.value(figures) for figures in counted),
            figures={name: tuple(figures[name] for figures in counted) for name in row.figures},
            notes=notes,
        )


def baselines(measure: Measure, rounds: int) -> dict[str, float]:
    """Runs the baselines of a measure alone and returns the medians of their figures."""
    try:
        sides = {name: side for name, side in measure.sides.items() if name in measure.bare}
        counted = alternate(sides, measure.counted(rounds), measure.warmups) if sides else []
    finally:
        measure.close()
    return {name: statistics.median(figures[name] for figures in counted) for name in (counted[0] if counted else ())}


def number(value: float) -> str:
    """A figure with three digits, or all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(measured: Sequence[Result]) -> str:
    """Results as a table in markdown, with the figures of both sides and, below, every note."""
    head = ("", "measure", "goal", "median", "spread", "rounds", "met", "figures (medians)")
    lines = [
        (
            result.name,
            result.title,
            "" if result.goal is None else str(result.goal),
            number(result.median),
            f"{number(min(result.values))} to {number(max(result.values))}",
            str(len(result.values)),
            result.verdict,
            "; ".join(_told(result)),
        )
        for result in measured
    ]
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    rule = tuple("-" * width for width in widths)
    text = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in
            (head, rule, *lines)]  # fmt: skip
    notes = {note: None for result in measured for note in result.notes}
    return "\n".join([*text, *(f"- {note}" for note in notes)])


def _told(result: Result) -> Iterator[str]:
    for name, of in result.figures.items():
        yield f"{name} {number(statistics.median(of))}"
    for condition, figures in result.apart.items():
        for name in result.figures:
            if name in figures:
                yield f"{name} ({condition}) {number(figures[name])}"
