from __future__ import annotations

from dataclasses import replace

import pytest

from autotune import Facts, Profile
from autotune.builtin.classify.presets import presets, unread


def profile(short: int, train: int) -> Profile:
    """Square images of one size."""
    return Profile(
        images=train,
        counts={"a": 1, "b": 1},
        sides={"train": train},
        height=(short,) * 3,
        width=(short,) * 3,
        grey=False,
    )


def lopsided(largest: int) -> Profile:
    """A hundred images of one class, and so many of another."""
    return replace(profile(64, 5000), counts={"a": 100, "b": largest})


ANY = Facts(name="timm/any", params=1, blocks=4, input_size=224)
FIXED = Facts(name="timm/fixed", params=1, blocks=4, input_size=224, sizes="fixed")


@pytest.mark.parametrize(
    ("short", "device", "size"),
    [(8, "cpu", 64), (28, "cuda:0", 96), (150, "cpu", 128), (150, "cuda:0", 160), (500, "cuda:0", 224)],
)
def test_the_size_follows_the_images_and_the_device(short, device, size):
    """Small images stay small, a CPU gets half of the pretraining's side, nothing exceeds it."""
    chosen = presets(profile(short, 5000), [ANY], device, {})
    assert chosen.fixed["img_size"] == size
    assert any(str(size) in reason for reason in chosen.reasons)


def test_a_fixed_size_is_respected():
    """A backbone that takes one size only gets it."""
    assert presets(profile(28, 5000), [FIXED], "cpu", {}).fixed["img_size"] == 224


def test_candidates_that_disagree_keep_their_own_sizes():
    """With no common size each recipe takes its backbone's own."""
    assert "img_size" not in presets(profile(28, 5000), [ANY, FIXED], "cpu", {}).fixed


def test_many_images_need_few_passes_for_the_head():
    """The head takes about 600 steps: 20 passes over few images, as the recipe says, and 2 over 20,000."""
    assert "head_epochs" not in presets(profile(28, 900), [ANY], "cpu", {}).fixed
    chosen = presets(profile(28, 20_000), [ANY], "cpu", {})
    assert chosen.fixed["head_epochs"] == 2
    assert any(reason.startswith("head_epochs 2") for reason in chosen.reasons)
    assert presets(profile(28, 10_000_000), [ANY], "cpu", {}).fixed["head_epochs"] == 1


def test_the_heads_passes_go_by_a_fixed_batch_size():
    """As many steps as the chosen size makes, or 600; but no more than a hundred passes, since images cost too."""

    def chosen(train: int, **given: int) -> object:
        return presets(profile(28, train), [ANY], "cpu", given).fixed.get("head_epochs", 20)

    assert chosen(20_000) == 2
    assert chosen(20_000, batch_size=256) == 8
    assert chosen(20_000, batch_size=16) == 1
    assert chosen(640) == 20  # 20 steps each, 400 in all
    assert chosen(640, batch_size=128) == 80  # 5 steps each
    assert chosen(640, batch_size=1024) == 100
    assert chosen(640, batch_size=16) == 15


def test_the_warm_up_goes_by_a_fixed_batch_size():
    """24 steps are 0.8 epochs of 30 small batches or 4 of 6 large ones; a batch holds no more images than there are."""
    assert presets(profile(28, 960), [ANY], "cpu", {}).fixed["warmup_epochs"] == 0.8
    large = presets(profile(28, 960), [ANY], "cpu", {"batch_size": 160})
    assert large.fixed["warmup_epochs"] == 4
    assert "warmup_epochs 4: the rates rise for 24 steps" in large.reasons
    assert "warmup_epochs" not in presets(profile(28, 960), [ANY], "cpu", {"batch_size": 16}).fixed
    whole = presets(profile(28, 192), [ANY], "cpu", {"batch_size": 4096})
    assert "warmup_epochs 5: the rates rise for 5 steps" in whole.reasons


def test_few_images_mean_a_long_warm_up():
    """The rates rise for about 24 steps, whatever an epoch has, but for five epochs at most."""
    chosen = presets(profile(28, 192), [ANY], "cpu", {})
    assert chosen.fixed["warmup_epochs"] == 4
    assert "warmup_epochs 4: the rates rise for 24 steps" in chosen.reasons
    assert presets(profile(28, 20), [ANY], "cpu", {}).fixed["warmup_epochs"] == 5
    assert "warmup_epochs" not in presets(profile(28, 5000), [ANY], "cpu", {}).fixed


def test_remedies_for_imbalance_are_searched_only_where_there_is_any():
    """Below twice as many images in one class as in another, the space stays what it was; either way it is said."""
    even = presets(lopsided(199), [ANY], "cpu", {})
    assert even.fixed["imbalance"] == "none"
    assert "imbalance none: no class has twice the training images of another" in even.reasons
    uneven = presets(lopsided(200), [ANY], "cpu", {})
    assert "imbalance" not in uneven.fixed
    assert "imbalance is searched: one class has 2.0 times the training images of another" in uneven.reasons


def test_only_training_images_make_classes_unequal():
    """A test folder of equal classes hides nothing of those in train, and an uneven one means nothing."""
    equal = {"a": 1000, "b": 1000}
    hidden = replace(profile(64, 2000), counts=equal, train_counts={"a": 300, "b": 15})
    assert "imbalance" not in presets(hidden, [ANY], "cpu", {}).fixed
    even = replace(lopsided(900), train_counts={"a": 300, "b": 300})
    assert presets(even, [ANY], "cpu", {}).fixed["imbalance"] == "none"


def test_few_images_mean_small_batches():
    """A thousand images make batches of 32, a hundred thousand on a GPU batches of 128."""
    assert presets(profile(64, 1000), [ANY], "cpu", {}).fixed["batch_size"] == 32
    assert presets(profile(64, 100000), [ANY], "cuda:0", {}).fixed["batch_size"] == 128


BLOCKS = {"lr_blocks", "layer_decay", "bn", "drop_path"}


@pytest.mark.parametrize(
    ("fixed", "idle"),
    [
        ({}, set()),
        ({"unfreeze": 4}, {"unfreeze_share"}),
        ({"unfreeze": 0}, {"unfreeze_share"} | BLOCKS),
        ({"unfreeze_share": 0.0}, BLOCKS),
        ({"unfreeze": 1, "unfreeze_share": 0.0}, {"unfreeze_share"}),
        ({"augment": "none"}, {"views"}),
        ({"augment": "trivial"}, set()),
    ],
)
def test_what_a_fixed_value_makes_idle_is_named(fixed, idle):
    """A number of blocks overrides their share; without blocks they have no rates; without a policy, no views."""
    assert unread(fixed) == idle
