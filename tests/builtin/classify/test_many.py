from __future__ import annotations

import dataclasses

import pytest
import torch

from autotune import Diverged
from autotune.builtin.classify.batching import HEADS_AT_ONCE, SAME, heads_at_once
from autotune.builtin.classify.many import fit_many
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.checkpoint import read_checkpoint
from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, tiny_data
from autotune.vision import heads_that_fit

QUICK = {"img_size": 32, "batch_size": 16, "head_epochs": 2, "unfreeze": 0}
VARIED = (
    {"lr": 0.02},
    {"lr": 0.005, "drop": 0.4, "smoothing": 0.2, "warmup_epochs": 2.0},
    {"lr": 0.05, "opt": "sgd", "momentum": 0.95, "weight_decay": 0.1},
    {"lr": 0.01, "ema_epochs": 0.0, "weight_decay": 0.1},
)


def cases(*varied, backbone="timm/test_efficientnet", epochs=3, **values):
    """``classify`` on a tiny network with random weights, once for each recipe."""
    plugins = load_plugins()
    source, _, name = backbone.partition("/")
    first = TrainerCase(
        spec=plugins.trainer("classify"),
        data=tiny_data(),
        backbone=plugins.backbone_source(source).backbone(name),
        augmentations=plugins.augmentations,
        epochs=epochs,
    )
    return [dataclasses.replace(first, values={**QUICK, **values, **own}) for own in varied]


def runs_of(some, folder, keys=()):
    """A run for each case, the i'th with its own keys."""
    own = {i: {} for i in range(len(some))} | dict(keys)
    return [one.run(folder / str(i), **own[i]) for i, one in enumerate(some)]


def rounds(some, runs):
    """A batch of cases in training."""
    return fit_many([one.recipe for one in some], some[0].data, runs, alone=some[0].trainer().fit)


def reread(one, checkpoint):
    """The checkpoint as another process would find it."""
    return read_checkpoint(checkpoint.path, backbone=one.backbone)


def test_each_ends_as_it_does_alone(tmp_path):
    """Scores, weights, averages and optimiser of every recipe of a batch are, to rounding, those of a single fit."""
    some = cases(*VARIED)
    together = list(rounds(some, runs_of(some, tmp_path)))
    assert [sorted(epochs) for epochs in together] == [[0, 1, 2, 3]] * 3
    for place, one in enumerate(some):
        for epochs, alone in zip(together, one.fit(one.run(tmp_path / f"alone-{place}")), strict=True):
            epoch = epochs[place]
            assert (epoch.at, epoch.images) == (alone.at, alone.images)
            assert epoch.metrics["log_loss"] == pytest.approx(alone.metrics["log_loss"], rel=1e-4)
            mine, theirs = epoch.checkpoint.tensors("torch"), alone.checkpoint.tensors("torch")
            assert mine.keys() == theirs.keys()
            for name, tensor in mine.items():
                torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-5)


def test_everything_random_comes_from_the_first_run(tmp_path):
    """A run of another seed, second in the batch, ends as the first would with its recipe, and its notes say so.

    They also say what is kept for all of them.
    """
    one, two = cases({"lr": 0.02}, {"lr": 0.02, "drop": 0.3})
    runs = [one.run(tmp_path / "0", seed=4), two.run(tmp_path / "1", seed=5)]
    *_, last = rounds([one, two], runs)
    alone = two.fit(two.run(tmp_path / "alone", seed=4))[-1]
    assert last[1].metrics["log_loss"] == pytest.approx(alone.metrics["log_loss"], rel=1e-4)
    assert [run.notes for run in runs] == [
        ["trained together with 1 others, from the seed 4", "activations kept (0 MB)"]
    ] * 2


@pytest.mark.parametrize("stopped", [None, "pause"])
def test_without_memory_for_all_some_are_trained_after_the_others(tmp_path, monkeypatch, stopped):
    """Two of five fit: each of them ends as in a whole batch, and its notes say why; a stop ends those to come too."""
    some = cases(*VARIED, {"lr": 0.03}, epochs=2)
    whole = list(rounds(some, runs_of(some, tmp_path / "whole")))
    classes, features = whole[-1][0].checkpoint.tensors("torch")["model/classifier.weight"].shape
    sizes = {"classes": classes, "features": features, "batch": 16}
    free = next(free for free in range(0, 10**7, 1000) if heads_that_fit(5, "cpu", free, **sizes)[0] == 2)
    monkeypatch.setattr("autotune.vision.device.memory_available", lambda: free)
    keys = {2: {"stop_at": 2, "reason": stopped}} if stopped else {}
    runs = runs_of(some, tmp_path / "few", keys)
    parts = list(rounds(some, runs))
    if stopped:
        assert [sorted(epochs) for epochs in parts] == [[0, 1], [0, 1]]
        assert runs[4].asked == 0
        return
    assert [sorted(epochs) for epochs in parts] == [[0, 1], [0, 1], [2, 3], [2, 3], [4], [4]]
    for place, last in ((0, 1), (1, 1), (2, 3), (3, 3), (4, 5)):
        found, expected = (epochs[place].checkpoint.tensors("torch") for epochs in (parts[last], whole[-1]))
        assert all(torch.allclose(found[name], expected[name], rtol=1e-3, atol=1e-5) for name in expected)
    assert runs[3].notes[0] == "trained together with 1 others, from the seed 0"
    assert [len(run.notes) for run in runs] == [3, 3, 3, 3, 2]
    assert all(run.notes[-2].startswith("2 of 5 heads are trained at once: a head of 3 classes on") for run in runs)


def test_one_that_diverges_fails_alone(tmp_path):
    """A rate far too high fails one run with its kind and reason; it yields nothing and the others lose nothing."""
    some = cases({"lr": 0.02}, {"lr": 1e30}, {"lr": 0.01})
    runs = runs_of(some, tmp_path)
    assert [sorted(epochs) for epochs in rounds(some, runs)] == [[0, 2]] * 3
    assert isinstance(runs[1].failed, Diverged)
    assert "1e+30" in str(runs[1].failed)
    assert [run.failed for run in (runs[0], runs[2])] == [None, None]


def test_a_batch_of_none_but_diverged_ends(tmp_path):
    """When every head has diverged nothing is yielded, and each run knows its failure."""
    some = cases({"lr": 1e30}, {"lr": 1e31})
    runs = runs_of(some, tmp_path)
    assert list(rounds(some, runs)) == []
    assert all(isinstance(run.failed, Diverged) for run in runs)


def test_the_first_run_is_asked_once_a_batch_and_the_others_once_an_epoch(tmp_path):
    """Sixty-four questions a batch would cost more than the training."""
    some = cases(*VARIED)
    runs = runs_of(some, tmp_path)
    list(rounds(some, runs))
    steps = -(-len(some[0].data.task.train) // 16)
    extra = runs[0].asked - 5 * steps
    assert [run.asked for run in runs[1:]] == [3, 3, 3]
    assert extra >= 3


def test_a_pruned_run_leaves_the_batch(tmp_path):
    """A run that is told to prune before the second epoch yields no more, the others end as if it had stayed."""
    some = cases(*VARIED)
    runs = runs_of(some, tmp_path / "pruned", {2: {"stop_at": 2, "reason": "prune"}}.items())
    left = list(rounds(some, runs))
    assert [sorted(epochs) for epochs in left] == [[0, 1, 2, 3], [0, 1, 3], [0, 1, 3]]
    whole = list(rounds(some, runs_of(some, tmp_path / "whole")))
    for place in (0, 1, 3):
        assert left[-1][place].metrics["log_loss"] == pytest.approx(whole[-1][place].metrics["log_loss"], rel=1e-4)


def test_a_first_run_that_is_pruned_within_an_epoch_holds_nobody_up(tmp_path):
    """Another run is asked from then on: the batch goes on to the end, and obeys what that one is told."""
    some = cases(*VARIED[:3])
    watched = runs_of(some, tmp_path / "watched")
    next(rounds(some, watched))
    early = {"stop_at": watched[0].asked + 2, "reason": "prune"}
    runs = runs_of(some, tmp_path / "pruned", {0: early}.items())
    assert [sorted(epochs) for epochs in rounds(some, runs)] == [[0, 1, 2], [1, 2], [1, 2]]
    second = {"stop_at": 4, "reason": "pause"}
    runs = runs_of(some, tmp_path / "both", {0: early, 1: second}.items())
    assert [sorted(epochs) for epochs in rounds(some, runs)] == [[0, 1, 2]]


def test_a_first_run_that_is_pruned_before_anything_is_known_leaves_a_batch(tmp_path):
    """Told to prune while the features are computed, the first run leaves; the others are still trained at once."""
    some = cases(*VARIED)
    runs = runs_of(some, tmp_path, {0: {"stop_at": 1, "reason": "prune"}})
    together = list(rounds(some, runs))
    assert [sorted(epochs) for epochs in together] == [[1, 2, 3]] * 3
    assert not runs[0].saved


@pytest.mark.parametrize("who", [0, 2])
def test_a_paused_batch_goes_on_bit_for_bit(tmp_path, who):
    """Told to pause, whichever run hears of it, all stop without yielding; resumed, all end as if undisturbed."""
    some = cases(*VARIED)
    whole = list(rounds(some, runs_of(some, tmp_path / "whole")))
    watched = runs_of(some, tmp_path / "watched")
    next(rounds(some, watched))
    keys = {who: {"stop_at": watched[who].asked + 1, "reason": "pause"}}
    paused = runs_of(some, tmp_path / "paused", keys.items())
    assert len(list(rounds(some, paused))) == 1
    back = {i: {"resume": reread(some[i], run.saved[-1])} for i, run in enumerate(paused)}
    rest = list(rounds(some, runs_of(some, tmp_path / "rest", back.items())))
    assert [epochs[0].at for epochs in rest] == [2, 3]
    for place in range(len(some)):
        one, two = (epochs[-1][place].checkpoint.tensors("torch") for epochs in (whole, rest))
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_at_the_deadline_all_keep_their_share(tmp_path):
    """Told of the deadline within the second epoch all yield that part of it, with a checkpoint, and end."""
    some = cases(*VARIED)
    watched = runs_of(some, tmp_path / "watched")
    next(rounds(some, watched))
    keys = {0: {"stop_at": watched[0].asked + 2, "reason": "deadline"}}
    runs = runs_of(some, tmp_path / "cut", keys.items())
    _, last = rounds(some, runs)
    assert sorted(last) == [0, 1, 2, 3]
    assert all(1 < epoch.at < 2 and epoch.checkpoint is not None for epoch in last.values())


def test_runs_of_different_ages_are_refused(tmp_path):
    """One that resumes beside one that begins cannot share its batches."""
    some = cases(*VARIED[:2])
    first = runs_of(some, tmp_path / "first")
    next(rounds(some, first))
    second = runs_of(some, tmp_path / "second", {1: {"resume": reread(some[1], first[1].saved[0])}}.items())
    with pytest.raises(ValueError, match=r"must resume at the same epoch, not at \[0.0, 1.0\]"):
        next(rounds(some, second))


def test_heads_of_another_kind_are_trained_one_after_the_other(tmp_path):
    """Where the head is a convolution every recipe is trained by itself, and one that fails does not stop the next."""
    some = cases({"lr": 1e30}, {"lr": 0.01}, backbone="torchvision/squeezenet1_1", epochs=1)
    runs = runs_of(some, tmp_path)
    found = list(rounds(some, runs))
    assert [sorted(epochs) for epochs in found] == [[1]]
    assert isinstance(runs[0].failed, Diverged)


def test_a_checkpoint_of_a_batch_is_a_models(tmp_path):
    """The model of every recipe predicts what its epoch reported."""
    some = cases(*VARIED)
    *_, last = rounds(some, runs_of(some, tmp_path))
    val = some[0].data.task.val
    for place, one in enumerate(some):
        model = one.trainer().load(reread(one, last[place].checkpoint))
        right = model.predict([val.image(i) for i in range(len(val))]).argmax(1) == val.labels
        assert right.mean() == pytest.approx(last[place].metrics["accuracy"])


def test_only_head_only_recipes_on_fixed_inputs_are_batched():
    """One whose features never change takes 63 others along; any other trains by itself."""
    recipe = ClassifyRecipe(backbone="timm/resnet18", unfreeze=0)
    assert heads_at_once(recipe) == HEADS_AT_ONCE == 64
    for changes in ({"unfreeze": 1}, {"augment": "trivial"}, {"mixup": 0.1}, {"cutmix": 0.1}, {"brightness": 0.1}):
        assert heads_at_once(recipe.model_copy(update=changes)) == 1
    assert set(SAME) <= set(ClassifyRecipe.model_fields)
