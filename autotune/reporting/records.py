"""Studies, trials and the like as json types, for ``--json``, files and other programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from autotune.reporting.batches import counted
from autotune.reporting.numbers import counts, epochs
from autotune.study import Best, Study, Trial


def as_json(value: object) -> Any:
    """A value in json types: records as objects, paths as text, nan and infinity as null; functions are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {name: as_json(v) for name, v in fields.items() if not callable(v)}
    if isinstance(value, Mapping):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, float):
        return float(value) if value == value and abs(value) != float("inf") else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def trial_record(trial: Trial) -> dict[str, Any]:
    """One trial: number, state, value, recipe, and all that is known besides."""
    first = {"number": trial.number, "state": trial.state, "value": trial.value, "epochs": epochs(trial)}
    return {**first, **as_json(trial)}


def best_record(best: Best) -> dict[str, Any]:
    """The model that was handed over."""
    return {
        "path": str(best.path),
        "at": best.at,
        "metrics": as_json(best.metrics),
        "select": as_json(best.select),
        "after_training": as_json(best.after_training),
        "trial": trial_record(best.trial),
    }


def study_record(study: Study) -> dict[str, Any]:
    """The study as it stands, without its trials' curves."""
    running = [t for t in study.trials if t.state == "running"]
    leader = study.leader
    return {
        "name": study.name,
        "path": str(study.path),
        "state": study.state,
        "metric": study.objective.main.metric,
        "direction": study.objective.main.direction,
        "trials": {
            "total": len(study.trained),
            "screened": len(study.screened),
            "counted": counted(study),
            "wanted": study.wanted,
            **counts(study),
        },
        "spent": study.spent,
        "time": study.time,
        "leader": None if leader is None else {"number": leader.number, "value": leader.value},
        "running": [{"number": t.number, "epochs": epochs(t), "recipe": as_json(t.recipe)} for t in running],
        "best": None if study.best is None else best_record(study.best),
    }


def improvement_record(improvement: Any) -> dict[str, Any]:
    """What fine-tuning a trained model brought."""
    return {
        "better": improvement.better,
        "verdict": improvement.verdict,
        "comparison": as_json(improvement.comparison),
        "study": study_record(improvement.study),
    }
