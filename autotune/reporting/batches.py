"""What is said of batches: trials that were trained together, told as one thing."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.reporting.tables import cell
from autotune.study import Study, Trial

STATES = ("complete", "pruned", "failed", "running")


def batch_of(study: Study, trial: Trial) -> tuple[Trial, ...]:
    """The trials of a trial's batch, by number; itself alone where it has none."""
    return (trial,) if trial.batch is None else tuple(t for t in study.trials if t.batch == trial.batch)


def counted(study: Study) -> int:
    """How many trials count towards the total: those of the search, each batch as one."""
    return sum(t.stage == "search" and not t.follows for t in study.trials)


def name(trials: Sequence[Trial]) -> str:
    """What trials, by number, are called together, e.g. ``trials 3, 5-8``: several workers make gaps."""
    runs: list[list[int]] = []
    for trial in trials:
        if runs and runs[-1][-1] + 1 == trial.number:
            runs[-1].append(trial.number)
        else:
            runs.append([trial.number])
    told = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"trial{'s' if len(trials) > 1 else ''} {told}"


def continued(trial: Trial) -> str:
    """Which trial another one goes on from, which has the same recipe; empty where there is none."""
    return "" if trial.parent is None else f"continues trial {trial.parent}"


def states(trials: Sequence[Trial]) -> str:
    """How many trials are in which state, e.g. ``12 complete, 52 pruned``."""
    found = [t.state for t in trials]
    return ", ".join(f"{found.count(s)} {s}" for s in STATES if s in found)


def total(study: Study) -> str:
    """How many trials a study has, and how many of those that are wanted."""
    number = f"{len(study.trained)} trials"
    if any(trial.follows for trial in study.trials):
        of = f" of {study.wanted}" if study.wanted else ""
        return f"{number} ({counted(study)}{of} with each batch as one)"
    return number + (f" of {study.wanted}" if study.wanted else "")


def recipe_line(trials: Sequence[Trial], most: int = 6) -> str:
    """The sampled part of one recipe, or the ranges of several, in one line; all of it where nothing was sampled."""
    recipes = [dict(t.sampled or t.recipe) for t in trials]
    names = list(dict.fromkeys(name for recipe in recipes for name in recipe))
    shown = [f"{name}={_span([r[name] for r in recipes if name in r])}" for name in names[:most]]
    return " ".join(shown) + (" ..." if len(names) > most else "")


def _span(values: Sequence[object]) -> str:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values) and min(numbers) < max(numbers):
        return f"{cell(min(numbers))}..{cell(max(numbers))}"
    return "|".join(dict.fromkeys(cell(v) for v in values))
