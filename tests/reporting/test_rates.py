"""The curve of a range test as people and programs read it."""

from __future__ import annotations

import csv
import json

import pytest

from autotune import RateCurve, Recipe, UsageError
from autotune.reporting.rates import LINES, WIDTH, rates, rates_record, write_rates


class Plain(Recipe):
    """A recipe of a trainer without backbones."""

    size: int = 8


class Deep(Recipe):
    """A recipe with a rate for the head and one for blocks."""

    backbone: str = "timm/any"
    lr: float = 0.01
    lr_blocks: float = 0.002
    unfreeze: int = 2


CURVE = RateCurve(
    rates=tuple(1e-6 * 1.1**step for step in range(90)),
    losses=tuple(2 - step / 50 if step < 60 else 0.8 + (step - 60) / 10 for step in range(90)),
    suggested=1e-6 * 1.1**41,
)


def test_the_curve_is_a_table_of_bars():
    """Some of the steps, the first, the suggested and the last among them; no bar is longer than the highest loss's.

    However high that is, the fall before it fills half of the room.
    """
    lines = rates(CURVE, Deep()).splitlines()
    rows = [line for line in lines if line.endswith(("#", "fastest"))]
    assert lines[0].endswith("timm/any")
    assert len(rows) <= LINES + 2
    assert [rows[0].split()[0], rows[-1].split()[0]] == ["1.0e-06", f"{CURVE.rates[-1]:.1e}"]
    assert [line.split()[0] for line in rows if "falls fastest" in line] == [f"{CURVE.suggested:.1e}"]
    bars = {line.split()[1]: line.count("#") for line in rows}
    assert bars[f"{max(CURVE.losses):.4f}"] == max(bars.values()) == WIDTH
    assert bars[f"{CURVE.losses[0]:.4f}"] - bars[f"{CURVE.losses[60]:.4f}"] == pytest.approx(WIDTH / 2, abs=1)


def test_the_suggestion_can_be_copied():
    """It is written as a search takes it, with the blocks' rate at the ratio that it was found with."""
    said = rates(CURVE, Deep()).splitlines()[-1]
    assert said == f"the loss falls fastest at fixed.lr={CURVE.suggested:.2g} fixed.lr_blocks={CURVE.suggested / 5:.2g}"
    for without in (Plain(), Deep(unfreeze=0)):
        assert rates(CURVE, without).splitlines()[-1] == f"the loss falls fastest at fixed.lr={CURVE.suggested:.2g}"


def test_what_suggests_nothing_says_so():
    """A curve that falls nowhere, a flat one and an empty one are told as what they are."""
    flat = RateCurve(rates=(1e-6, 1e-5), losses=(1.0, 1.0), suggested=None)
    assert "no rate is suggested: the loss falls nowhere" in rates(flat, Plain()).splitlines()[-1]
    empty = RateCurve(rates=(), losses=(), suggested=None)
    assert rates(empty, Plain()) == "no curve: the loss was not a finite number in the first step"


def test_the_record_is_json():
    """Rates, losses, suggestion and recipe."""
    record = json.loads(json.dumps(rates_record(CURVE, Deep()), allow_nan=False))
    assert record.keys() == {"rates", "losses", "suggested", "recipe"}
    assert record["rates"] == list(CURVE.rates)
    assert record["recipe"]["lr"] == 0.01


def test_the_file_holds_every_step(tmp_path):
    """A line a step, read back to the same numbers; a file that cannot be written is an error that names it."""
    write_rates(tmp_path / "curve.csv", CURVE)
    with (tmp_path / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["lr"]) for row in rows] == list(CURVE.rates)
    assert [float(row["loss"]) for row in rows] == list(CURVE.losses)
    with pytest.raises(UsageError, match="nowhere"):
        write_rates(tmp_path / "nowhere" / "curve.csv", CURVE)
