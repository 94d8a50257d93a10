from __future__ import annotations

import re

import pytest

from autotune import Facts, Profile
from autotune.builtin.probe.presets import READ, presets, unread
from autotune.builtin.probe.recipe import HEADS, ProbeRecipe


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


def test_candidates_that_disagree_keep_their_own_sizes():
    """With no common size each recipe takes its backbone's own."""
    assert "img_size" not in presets(profile(28, 5000), [ANY, FIXED], "cpu", {}).fixed


@pytest.mark.parametrize("batch", [8, 256, 4096])
def test_passes_go_by_a_fixed_batch_size(batch):
    """An epoch is about a hundred steps of the size that the study fixes, or one pass."""
    chosen = presets(profile(64, 1000), [ANY], "cpu", {"batch_size": batch})
    steps = chosen.fixed["passes"] * -(-1000 // batch)
    assert 90 <= steps <= 125
    assert f"passes {chosen.fixed['passes']}: {steps} steps an epoch; about 1,000 in all fit a head" in chosen.reasons


@pytest.mark.parametrize("train", [1, 20, 200, 3000, 10_000, 11_000, 60_000, 1_000_000])
def test_ten_epochs_are_enough_steps(train):
    """However many images there are, ten epochs make 600 steps or more, and over 1,500 only if each is one pass."""
    chosen = presets(profile(64, train), [ANY], "cpu", {}).fixed
    steps = 10 * chosen["passes"] * -(-train // chosen["batch_size"])
    assert steps >= 600
    assert steps <= 1500 or chosen["passes"] == 1


def test_presets_are_fields_and_give_reasons():
    """Every preset is a value that the recipe takes, and a line for people says why."""
    chosen = presets(profile(64, 5000), [ANY], "cpu", {})
    ProbeRecipe(backbone="timm/any", **chosen.fixed)
    assert {reason.split()[0] for reason in chosen.reasons} == set(chosen.fixed)


def test_a_fixed_head_leaves_out_what_only_others_read():
    """What each head reads is what the fields' descriptions say; the rest is not searched beside it."""
    fields = ProbeRecipe.model_fields
    for name in set().union(*READ.values()):
        told = set(re.findall(r"\w+", " ".join(re.findall(r"\(([^)]*)\)", fields[name].description))))
        assert {head for head, read in READ.items() if name in read} == told & set(HEADS), name
    assert set(READ) == set(HEADS)
    assert unread({"head": "knn"}) == {"lr", "weight_decay", "drop", "hidden", "distance"}
    assert unread({"lr": 1e-3}) == set()
