"""What a learning-rate range test found, for a terminal, as json types and as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.checkpoint import write_atomically
from autotune.errors import UsageError
from autotune.reporting.records import as_json
from autotune.reporting.tables import plain
from autotune.trainer import RateCurve, Recipe

LINES, WIDTH = 25, 40


def rates(curve: RateCurve, recipe: Recipe) -> str:
    """The curve as bars of the smoothed loss, and the rate that it suggests."""
    values = recipe.model_dump()
    lines = [f"rates that rise from step to step, on {values['backbone']}"] if "backbone" in values else []
    if not curve.rates:
        return "\n".join([*lines, "no curve: the loss was not a finite number in the first step"])
    lines.append(plain(["lr", "loss", ""], _rows(curve)))
    if curve.suggested is None:
        return "\n".join([*lines, "no rate is suggested: the loss falls nowhere by more than batches differ"])
    found = {"lr": curve.suggested}
    if {"lr", "lr_blocks"} <= values.keys() and values.get("unfreeze") != 0:
        found["lr_blocks"] = curve.suggested * values["lr_blocks"] / values["lr"]
    said = " ".join(f"fixed.{name}={value:.2g}" for name, value in found.items())
    return "\n".join([*lines, f"the loss falls fastest at {said}"])


def _rows(curve: RateCurve) -> list[list[str]]:
    """Some of the steps, evenly spread, the suggested one and the last among them."""
    count = len(curve.rates)
    shown = set(range(0, count, -(-count // LINES))) | {count - 1}
    marked = None if curve.suggested is None else curve.rates.index(curve.suggested)
    low, high = min(curve.losses), max(curve.losses)
    if curve.losses[0] > low:
        high = min(high, 2 * curve.losses[0] - low)  # an explosion at the end would leave the fall no room
    rows = []
    for place in sorted(shown if marked is None else shown | {marked}):
        share = min(1.0, (curve.losses[place] - low) / (high - low)) if high > low else 0.0
        bar = "#" * (1 + round((WIDTH - 1) * share)) + (" <- falls fastest" if place == marked else "")
        rows.append([f"{curve.rates[place]:.1e}", f"{curve.losses[place]:.4f}", bar])
    return rows


def rates_record(curve: RateCurve, recipe: Recipe) -> dict[str, Any]:
    """The curve, what it suggests, and the recipe that it was made with."""
    return {**as_json(curve), "recipe": as_json(recipe.model_dump(mode="json"))}


def write_rates(path: Path, curve: RateCurve) -> None:
    """Writes the curve as a table of comma-separated values.

    Raises:
        UsageError: The file cannot be written.
    """
    rows = ["lr,loss", *(f"{rate!r},{loss!r}" for rate, loss in zip(curve.rates, curve.losses, strict=True))]
    try:
        write_atomically(path, ("\n".join(rows) + "\n").encode())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})", hint="name another file") from error
