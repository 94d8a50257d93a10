"""What is said of a plan."""

from __future__ import annotations

import json

from autotune.reporting.planned import opening, plan_record, space
from autotune.searching import prepare


def test_a_plan_is_told_before_it_begins(tmp_path):
    """Data, the locked test set, budget and reasons; the space with its ranges and what is fixed."""
    plan = prepare("digits", ["trainer=toy", "fixed.size=4", "time=1m", "trials=3"], runs=tmp_path)
    told = opening(plan)
    assert "1,797 images of 10 classes" in told
    assert "test is locked" in told
    assert f"{tmp_path}/digits, 1m00s and 3 trials" in told
    assert "0.001 .. 10, log" in space(plan)
    assert "sgd, nesterov" in space(plan)
    assert "size   4" in space(plan)
    record = json.loads(json.dumps(plan_record(plan), allow_nan=False))
    assert record["trainer"] == "toy"
    assert record["fixed"]["size"] == 4
    assert record["space"]["opt"]["values"] == ["sgd", "nesterov"]
