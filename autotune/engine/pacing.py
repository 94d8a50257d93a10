"""How long a full training is, and which backbones the time has room for."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.checking import backbone_field
from autotune.engine.clock import Clock
from autotune.engine.run import AttemptRun, CannotSaveError
from autotune.engine.samplers import derived_seed
from autotune.engine.signals import Signals
from autotune.engine.suggest import clip, complete
from autotune.engine.watch import Watch
from autotune.errors import PluginError, TrialFailure
from autotune.sizes import SIZE
from autotune.space import Scalar
from autotune.trainer import Trainer

if TYPE_CHECKING:
    from autotune.plan import Plan

DEFAULT_EPOCHS = 10
FEWEST, MOST = 3, 30
TRAININGS = 3
SHARE = 0.1
UNFREEZE, TYPICAL = "unfreeze_share", 0.5
"""A typical trial trains half of the blocks: what lies beneath is computed once."""


def pace(plan: Plan, trainer: Trainer[Any], called: str, clock: Clock, signals: Signals) -> Plan:
    """Chooses the length of a full training, and drops backbones that are too slow for the time.

    Without a time, and for a trainer that cannot say how long an epoch takes, the length is a fixed one.

    Args:
        plan: The plan, whose epochs are open.
        trainer: Measures an epoch.
        called: The trainer with its plugin, for messages.
        clock: The time that is left; at most a tenth of it goes into measuring.
        signals: Lets the measuring be stopped.

    Returns:
        The plan with epochs, candidates and reasons filled in.

    Raises:
        PluginError: The trainer's `pace` raises, or returns no number.
        TrialFailure: None of the candidates can be trained at all.
    """
    if clock.total is None:
        return plan.paced(DEFAULT_EPOCHS, f"{DEFAULT_EPOCHS} epochs a trial: the default without a time")
    seconds, reasons = _measured(plan, trainer, called, clock, signals)
    known = {name: value for name, value in seconds.items() if value is not None}
    if not known:
        reasons.append(f"{DEFAULT_EPOCHS} epochs a trial: the trainer does not say how long an epoch takes")
        return plan.paced(DEFAULT_EPOCHS, *reasons)
    left = max(clock.left, 0.0)
    slow = {name for name, value in known.items() if FEWEST * value > left / TRAININGS}
    slow.discard(min(known, key=lambda name: known[name]))
    for name in sorted(slow, key=str):
        reasons.append(
            f"left out {name}: {FEWEST} epochs take about {FEWEST * known[name]:.0f} s, "
            f"more than a third of the {left:.0f} s left"
        )
    kept = {name: value for name, value in known.items() if name not in slow}
    typical = statistics.median(kept.values())
    epochs = max(FEWEST, min(MOST, int(left / TRAININGS / max(typical, 1e-6))))
    reasons.append(
        f"{epochs} epochs a trial: an epoch of a typical trial takes about {typical:.3g} s, "
        f"and about {TRAININGS} full trainings should fit into the {left:.0f} s left"
    )
    gone = slow | {name for name in plan.backbones if name not in seconds}
    return _without(plan, {name for name in gone if name is not None}).paced(epochs, *reasons)


def _measured(
    plan: Plan, trainer: Trainer[Any], called: str, clock: Clock, signals: Signals
) -> tuple[dict[str | None, float | None], list[str]]:
    """Seconds an epoch, by backbone, the cheapest first; those that cannot be trained are left out."""
    seconds: dict[str | None, float | None] = {}
    reasons: list[str] = []
    limit = clock.left - SHARE * max(clock.left, 0.0)
    failure: TrialFailure | None = None
    for name in _cheapest_first(plan):
        if signals.asked is not None:
            break
        measured = {n: s for n, s in seconds.items() if s is not None}
        if measured and clock.left < limit:
            seconds[name] = _estimated(plan, name, measured)
            continue
        try:
            seconds[name] = _once(plan, name, trainer, called, clock, signals)
        except TrialFailure as error:
            failure = error
            reasons.append(f"left out {name}: {error.message}")
    if not seconds and failure is not None:
        raise failure
    return seconds, reasons


def _once(
    plan: Plan, name: str | None, trainer: Trainer[Any], called: str, clock: Clock, signals: Signals
) -> float | None:
    sampled: dict[str, Scalar] = complete({}, plan.space, plan.trainer.recipe)
    field = backbone_field(plan.trainer.recipe)
    if name is not None and field is not None and field in plan.space:
        sampled[field] = name
    if UNFREEZE in plan.space:
        sampled[UNFREEZE] = clip(TYPICAL, plan.space[UNFREEZE])
    recipe = plan.recipe(sampled)
    with tempfile.TemporaryDirectory(prefix="autotune-pace-") as folder:
        run = AttemptRun(
            trial=0,
            seed=derived_seed("pace", plan.config.seed),
            device=plan.device,
            epochs=FEWEST,
            deadline=clock.search_deadline,
            cache=plan.cache,
            cache_limit=plan.config.cache_size,
            backbone=plan.backbones[name] if name is not None else None,
            augmentations=plan.plugins.augmentations,
            folder=Path(folder),
            added={},
            watch=Watch(clock.search_deadline, signals),
        )
        try:
            value = trainer.pace(recipe, plan.dataset.data, run)
        except (TrialFailure, CannotSaveError):
            raise
        except Exception as error:
            raise PluginError(f"{called}: pace raised {type(error).__name__}: {error}") from error
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0):
        raise PluginError(f"{called}: pace returned {value!r}, not seconds")
    return None if value is None else float(value)


def _cheapest_first(plan: Plan) -> list[str | None]:
    """The candidates by their prior; [None] for a trainer that uses no backbone."""
    names = sorted(plan.backbones, key=lambda name: cost(plan, name))
    return [*names] or [None]


def cost(plan: Plan, name: str) -> float:
    """A prior for what an image costs: multiply-accumulates at the size of the study's images, else parameters."""
    facts, size = plan.backbones[name].facts, plan.fixed.get(SIZE)
    if facts.cost is None:
        return facts.params / 1e7
    return facts.cost * (size / facts.input_size) ** 2 if isinstance(size, int) else facts.cost


def _estimated(plan: Plan, name: str | None, measured: Mapping[str | None, float]) -> float:
    """From the costliest one that was measured, in proportion to the prior."""
    known = [n for n in measured if n is not None]
    if name is None or not known:
        return max(measured.values())
    nearest = max(known, key=lambda n: cost(plan, n))
    return measured[nearest] * max(1.0, cost(plan, name) / max(cost(plan, nearest), 1e-9))


def _without(plan: Plan, names: set[str]) -> Plan:
    """The plan without some candidates; a last one is no longer searched but fixed."""
    field = backbone_field(plan.trainer.recipe)
    if not names or field is None or field not in plan.space:
        return plan
    kept = {name: backbone for name, backbone in plan.backbones.items() if name not in names}
    weights = {name: backbone.weights.digest for name, backbone in kept.items() if backbone.weights}
    plan = replace(
        plan,
        backbones=kept,
        space=plan.space.changed(field, values=list(kept)),
        portfolio=tuple(p for p in plan.portfolio if p.get(field) not in names),
        config=plan.config.model_copy(
            update={"backbones": tuple(kept), "made": {**plan.config.made, "weights": weights}}
        ),
    )
    if len(kept) > 1:
        return plan
    return replace(
        plan,
        space=plan.space.without(field),
        fixed={**plan.fixed, field: next(iter(kept))},
        portfolio=tuple({n: v for n, v in p.items() if n != field} for p in plan.portfolio),
    )
