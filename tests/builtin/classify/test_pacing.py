"""How long an epoch of ``classify`` takes, measured once on a machine."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from autotune import Split
from autotune.builtin.classify import pacing
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.testing import tiny_data
from autotune.vision.graphs import PAYS

BATCH = 10


def task(steps):
    """A task whose epochs have so many steps, of images that nobody looks at."""
    one, count = tiny_data().task, BATCH * steps
    keys = tuple(map(str, range(count)))
    side = Split(ids=keys, labels=np.zeros(count, np.int64), keys=keys, reader=one.train.reader)
    return replace(one, train=side)


@pytest.fixture
def paced(tmp_path, monkeypatch):
    """Asks for the pace on a device, where nothing is trained; returns how often it was measured so far."""
    measured = []
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(pacing, "Fitting", lambda recipe, task, run: None)
    monkeypatch.setattr(pacing, "_measure", lambda fitting: (measured.append(1) or (1.0, 1.0), True))

    def ask(steps, *, epochs=3, device="cuda:0", **values):
        recipe = ClassifyRecipe(backbone="timm/any", batch_size=BATCH, **values)
        run = SimpleNamespace(cache=tmp_path, device=device, epochs=epochs)
        side = task(steps)
        assert pacing.pace(recipe, side, run) == len(side.train) + len(side.val)
        return len(measured)

    return ask


def test_a_pace_without_graphs_is_none_with_them(paced):
    """On a GPU, what a training too short for graphs measured is not believed for one that has them, nor back."""
    short, long = PAYS // 3, -(-PAYS // 3)
    assert paced(short) == 1
    assert paced(short - 5) == 1
    assert paced(long) == 2
    assert paced(long + 20) == 2
    assert paced(short) == 2
    assert paced(short, epochs=10) == 2


@pytest.mark.parametrize("how", [{"device": "cpu"}, {"cuda_graphs": "never"}])
def test_where_there_are_no_graphs_one_pace_holds_for_all(paced, how):
    """On a CPU, or where the recipe wants none, the length of the training says nothing."""
    assert [paced(steps, **how) for steps in (2, PAYS // 3, PAYS, 3 * PAYS)] == [1] * 4
