"""What is said of a plan before it is carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.datasets import described
from autotune.reporting.records import as_json
from autotune.reporting.tables import cell, duration, plain
from autotune.space import Choice, Dimension

if TYPE_CHECKING:
    from autotune.plan import Plan


def opening(plan: Plan) -> str:
    """What was found in the data, and what was chosen, and why."""
    config = plan.config
    budget = [duration(config.time)] if config.time else []
    budget += [f"{config.trials} trials"] if config.trials else []
    lines = [f"data: {plan.dataset.location}"]
    lines += [f"  {line}" for line in (*described(plan.dataset), *config.made.get("near", ()))]
    lines.append(f"study: {plan.path}, {' and '.join(budget) or 'no end'}")
    lines += [f"  {line}" for line in plan.reasons]
    return "\n".join(lines)


def space(plan: Plan) -> str:
    """What is searched, what is fixed, and the recipes that are tried first."""
    rows = [[name, _range(dimension)] for name, dimension in plan.space.items()]
    lines = ["", plain(["searched", "range"], rows)] if rows else ["", "nothing is searched"]
    if plan.fixed:
        lines += ["", plain(["fixed", "value"], [[name, cell(value)] for name, value in plan.fixed.items()])]
    for number, recipe in enumerate(plan.portfolio):
        told = ", ".join(f"{name}={cell(value)}" for name, value in recipe.items()) or "the defaults"
        lines.append(f"{'first' if number == 0 else 'then'}: {told}")
    return "\n".join(lines)


def plan_record(plan: Plan) -> dict[str, Any]:
    """The plan as json types."""
    return {
        "path": str(plan.path),
        "config": plan.config.model_dump(mode="json"),
        "data": [as_json(task.profile) for task in plan.dataset.data.tasks],
        "trainer": plan.trainer.name,
        "backbones": [as_json(backbone.facts) for backbone in plan.backbones.values()],
        "space": {name: {"kind": type(d).__name__.lower(), **as_json(d)} for name, d in plan.space.items()},
        "fixed": as_json(plan.fixed),
        "portfolio": as_json(plan.portfolio),
        "objective": as_json(plan.objective),
        "device": plan.device,
        "epochs": plan.epochs,
        "reasons": list(plan.reasons),
    }


def _range(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        return ", ".join(cell(v) for v in dimension.values)
    step = f", step {cell(dimension.step)}" if dimension.step not in (None, 1) else ""
    return f"{cell(dimension.low)} .. {cell(dimension.high)}{', log' if dimension.log else ''}{step}"
