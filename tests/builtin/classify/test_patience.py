"""Trainings that end by themselves."""

from __future__ import annotations

import dataclasses

import pytest

from autotune import Checkpoint
from autotune.builtin.classify.many import fit_many
from autotune.builtin.classify.patience import Patience
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, TrialRun, tiny_data
from autotune.testing.cases import reread
from autotune.vision import Openings

STILL = 1e-30
"""A rate that moves no float32 weight: the validation loss stays what it is to the bit."""
QUICK = {"img_size": 32, "batch_size": 16, "head_epochs": 0, "lr": STILL, "lr_blocks": STILL}


def tiny(epochs=8, **values):
    """``classify`` on a tiny network with random weights, at rates that change nothing."""
    plugins = load_plugins()
    return TrainerCase(
        spec=plugins.trainer("classify"),
        values={**QUICK, **values},
        data=tiny_data(),
        backbone=plugins.backbone_source("timm").backbone("test_resnet"),
        augmentations=plugins.augmentations,
        epochs=epochs,
    )


def watching(run, patience=2, **keys):
    """A patience that has been told of nothing."""
    return Patience(ClassifyRecipe(backbone="timm/any", patience=patience), run, **keys)


def told(patience, losses, first=1):
    """Tells it of epochs; returns after which of them it was over."""
    over = []
    for at, loss in enumerate(losses, start=first):
        patience.told(float(at), loss)
        over += [at] if patience.over(float(at)) else []
    return over


def test_it_ends_after_so_many_epochs_without_a_lower_loss(tmp_path):
    """An epoch that is equal or worse waits, a better one begins anew; a note says when and why it ended."""
    run = TrialRun(tmp_path, epochs=10)
    assert told(watching(run), [1.0, 0.9, 0.95, 0.8, 0.8, 0.81]) == [6]
    (note,) = run.notes
    assert note.startswith("ended by itself after 6 of 10 epochs")
    assert "0.8 for 2" in note


def test_without_patience_nothing_ends(tmp_path):
    """A training that only gets worse runs to its end, and its checkpoints say nothing of it."""
    run = TrialRun(tmp_path, epochs=10)
    patience = watching(run, patience=None)
    assert told(patience, [1.0, 2.0, 3.0, 4.0]) == []
    assert (patience.to_facts(), run.notes) == ({}, [])


def test_a_training_that_ends_anyway_says_nothing(tmp_path):
    """At the last epoch there is nothing to end."""
    run = TrialRun(tmp_path, epochs=3)
    told(watching(run), [1.0, 1.0, 1.0])
    assert run.notes == []


def test_blocks_that_are_still_to_be_opened_are_waited_for(tmp_path):
    """The waiting begins at the last opening."""
    patience = watching(TrialRun(tmp_path, epochs=10), openings=Openings.of("0:1,4:2", 2))
    assert told(patience, [1.0] * 7) == [6, 7]


def test_what_it_saw_is_kept_with_the_checkpoint(tmp_path):
    """Resumed it ends where it would have ended undisturbed; a trial that continues another waits anew."""
    first = watching(TrialRun(tmp_path / "a", epochs=10))
    told(first, [0.5, 0.6])
    facts = {**first.to_facts(), "trial": 0}
    for trial, over in ((0, [3, 4, 5]), (1, [4, 5])):
        checkpoint = Checkpoint(path=tmp_path / "x", facts={**facts, "trial": trial})
        resumed = watching(TrialRun(tmp_path / "b", epochs=10, resume=checkpoint))
        resumed.go_on(2.0)
        assert told(resumed, [0.6, 0.6, 0.6], first=3) == over


def test_a_loss_that_is_not_a_number_is_kept_as_nothing(tmp_path):
    """It is no best loss, and json takes it."""
    patience = watching(TrialRun(tmp_path, epochs=10))
    told(patience, [float("nan")])
    assert patience.to_facts() == {"patience": {"best": None, "at": 0.0}}


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_a_trial_ends_by_itself_and_is_complete(tmp_path, unfreeze):
    """With nothing gained after the first epoch it ends two epochs later, without having been told to."""
    one = tiny(unfreeze=unfreeze, patience=2)
    run = one.run(tmp_path)
    assert [epoch.at for epoch in one.fit(run)] == [1, 2, 3]
    assert [note for note in run.notes if note.startswith("ended by itself after 3 of 8 epochs")]


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_a_resumed_trial_ends_where_it_would_have_ended(tmp_path, unfreeze):
    """From the second epoch it trains one more; from the last one, none."""
    one = tiny(unfreeze=unfreeze, patience=2)
    run = one.run(tmp_path / "whole")
    one.fit(run)
    for done, rest in ((1, [2, 3]), (2, [3]), (3, [])):
        resumed = one.run(tmp_path / f"from-{done}", resume=reread(one, run.saved[done - 1]))
        assert [epoch.at for epoch in one.fit(resumed)] == rest


def test_in_a_batch_each_ends_for_itself(tmp_path):
    """A head whose patience is over leaves the batch; the others are trained on to their end."""
    values = ({"patience": 1}, {"lr": 0.02}, {"patience": 3})
    some = [dataclasses.replace(tiny(epochs=5), values={**QUICK, "unfreeze": 0, **own}) for own in values]
    runs = [one.run(tmp_path / str(place)) for place, one in enumerate(some)]
    found = list(fit_many([one.recipe for one in some], some[0].data, runs, alone=some[0].trainer().fit))
    assert [sorted(epochs) for epochs in found] == [[0, 1, 2], [0, 1, 2], [1, 2], [1, 2], [1]]
    assert [bool([n for n in run.notes if n.startswith("ended by itself")]) for run in runs] == [True, False, True]


def test_a_batch_of_which_all_have_ended_ends(tmp_path):
    """Resumed after its end, a batch yields nothing and waits for nobody."""
    some = [dataclasses.replace(tiny(epochs=5), values={**QUICK, "unfreeze": 0, "patience": p}) for p in (1, 1)]
    runs = [one.run(tmp_path / str(place)) for place, one in enumerate(some)]
    recipes = [one.recipe for one in some]
    assert len(list(fit_many(recipes, some[0].data, runs, alone=some[0].trainer().fit))) == 2
    again = [one.run(tmp_path / f"again-{i}", resume=reread(one, runs[i].saved[-1])) for i, one in enumerate(some)]
    assert list(fit_many(recipes, some[0].data, again, alone=some[0].trainer().fit)) == []
