from __future__ import annotations

import dataclasses

import pytest

from autotune import Facts
from autotune.testing import tiny_data
from autotune.vision import common_size, preprocess_for


@pytest.mark.parametrize(("short", "crop"), [(16, 1.0), (32, 1.0), (33, 0.8)])
def test_only_images_larger_than_the_input_are_cropped(backbone, short, crop):
    """Images that mostly fit the input keep their borders; larger ones are cropped as in the pretraining."""
    task = tiny_data().task
    task = dataclasses.replace(
        task, profile=dataclasses.replace(task.profile, height=(8, short, 90), width=(8, 50, 90))
    )
    backbone.facts = dataclasses.replace(backbone.facts, crop_pct=0.8, mean=(0.1, 0.2, 0.3))
    made = preprocess_for(backbone, 32, task)
    assert (made.img_size, made.crop_pct, made.mean) == (32, crop, (0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("short", "device", "size"), [(8, "cpu", 64), (28, "cpu", 96), (500, "cpu", 128), (500, "cuda:0", 224)]
)
def test_the_common_size_follows_images_and_device(short, device, size):
    """Small images are enlarged a little, and a CPU gets about half of the pretraining's side."""
    facts = Facts(name="timm/any", params=1, blocks=4, input_size=224)
    profile = dataclasses.replace(tiny_data().task.profile, height=(short,) * 3, width=(short,) * 3)
    assert common_size(profile, [facts], device) == size


def test_candidates_of_different_sizes_have_none_in_common():
    """One that takes its own size only, beside one that takes any."""
    profile = dataclasses.replace(tiny_data().task.profile, height=(28,) * 3, width=(28,) * 3)
    fixed = Facts(name="timm/fixed", params=1, blocks=4, input_size=224, sizes="fixed")
    free = Facts(name="timm/free", params=1, blocks=4, input_size=224)
    assert common_size(profile, [fixed], "cpu") == 224
    assert common_size(profile, [fixed, free], "cpu") is None
