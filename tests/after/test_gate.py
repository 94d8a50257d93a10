"""The images that judge what is done to a finished model."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from autotune.after.choosing import load_trained
from autotune.after.finalists import finalists
from autotune.after.gate import FEWEST, Gate, Step, sentence
from autotune.objective import Goal, Objective
from autotune.plan import reopen
from autotune.plugins import load_plugins

ACCURACY = Objective((Goal.of("accuracy"),))


@pytest.fixture
def dataset(folder):
    """The finished study's images."""
    return reopen(folder, load_plugins()).dataset


@pytest.fixture
def without_select(dataset):
    """The same images as if there were too few for a select side."""
    return dataclasses.replace(dataset, holdout=dataclasses.replace(dataset.holdout, select=None))


def test_select_judges_where_it_is(dataset, without_select):
    """The side that no search looked at comes first; else the validation images have to do."""
    gate, other = Gate(dataset, ACCURACY), Gate(without_select, ACCURACY)
    assert (gate.name, gate.side) == ("select", dataset.holdout.select)
    assert (other.name, other.side) == ("val", dataset.data.task.val)
    assert gate.enough
    few = dataset.data.task.val.take(range(FEWEST - 1))
    task = dataclasses.replace(dataset.data.task, val=few)
    data = dataclasses.replace(dataset.data, tasks=(task,))
    assert not Gate(dataclasses.replace(without_select, data=data), ACCURACY).enough


def test_every_image_is_judged_once_by_what_others_taught(dataset):
    """Each row is held out in one fold, and is never among those that are fitted to there."""
    gate = Gate(dataset, ACCURACY)
    rows = np.arange(len(gate.side))
    folds = list(gate.folds())
    assert sorted(np.concatenate([rest for _, rest in folds])) == rows.tolist()
    for fit, rest in folds:
        assert np.array_equal(np.sort(np.concatenate([fit, rest])), rows)
        assert len(fit) > 3 * len(rest)


def test_scores_are_those_of_predictions(folder, study):
    """What the gate measures is what the model predicts of its images, whole and in part."""
    from autotune.vision.metrics import score

    plan = reopen(folder, load_plugins())
    best = finalists(study)[0]
    model = load_trained(plan, best.trial, best.checkpoint)[1]
    gate = Gate(plan.dataset, plan.objective)
    logits = gate.measure(model)
    side = gate.side
    predicted = model.predict([side.image(i) for i in range(len(side))])
    assert gate.scores(logits) == pytest.approx(score(predicted, side.labels), abs=1e-5)
    rows = np.arange(0, len(side), 3)
    assert gate.scores(logits, rows=rows) == pytest.approx(score(predicted[rows], side.labels[rows]), abs=1e-5)
    model.temperature = 3.0
    predicted = model.predict([side.image(i) for i in range(len(side))])
    assert gate.scores(logits, 3.0) == pytest.approx(score(predicted, side.labels), abs=1e-5)


def test_nothing_is_measured_without_time(folder, study):
    """Past the deadline there is no measurement; with time there is, and it tells how long the next one takes."""
    plan = reopen(folder, load_plugins())
    best = finalists(study)[0]
    model = load_trained(plan, best.trial, best.checkpoint)[1]
    late = Gate(plan.dataset, plan.objective, deadline=time.monotonic())
    assert late.measure(model) is None
    assert not late.has_time()
    soon = Gate(plan.dataset, plan.objective, deadline=time.monotonic() + 60)
    assert soon.measure(model, setup=50) is not None
    assert soon.has_time(1)
    assert not soon.has_time(2)
    assert Gate(plan.dataset, plan.objective).has_time(10**9)


def test_how_long_a_model_takes_may_be_told(dataset):
    """Loads, makes, images to judge by, further images of each and the validation images all count."""
    seconds = 60.0
    gate = Gate(dataset, ACCURACY, deadline=time.monotonic() + seconds)
    assert gate.has_time(10**6)
    gate.expect(setup=10, each=0)
    assert gate.has_time(3, loads=2)
    assert not gate.has_time(3, loads=3)
    images = len(gate.side) + len(dataset.data.task.val)
    gate = Gate(dataset, ACCURACY, deadline=time.monotonic() + seconds)
    gate.expect(setup=0, each=30 / images)
    assert gate.has_time(1, extra=images // 2)
    assert not gate.has_time(1, extra=images)
    assert gate.has_seconds(50)
    assert not gate.has_seconds(60)


def test_a_trainers_own_metric_cannot_be_judged(dataset):
    """Where something else than the four scores is optimised, or limited, no mean of weights can be compared."""
    assert Gate(dataset, ACCURACY).comparable
    assert not Gate(dataset, Objective((Goal.of("dice:maximize"),))).comparable


def test_a_step_is_told_in_one_line():
    """With figures where there are some, and what became of it; numbers that are none become nothing."""
    step = Step(
        name="soup", kept=True, what="the mean of a and b", metric="accuracy", before=0.5, after=0.625, images=1200,
        side="val", facts={"models": ["a", "b"]},
    )  # fmt: skip
    facts = step.to_facts()
    assert sentence(facts) == "soup: the mean of a and b; accuracy 0.5000 -> 0.6250 on 1,200 val images: kept"
    assert facts["models"] == ["a", "b"]
    skipped = Step(name="soup", kept=False, what="not tried: no time").to_facts()
    assert sentence(skipped) == "soup: not tried: no time"
    assert Step(name="x", kept=False, what="", before=float("nan"), after=1.0).to_facts()["before"] is None
