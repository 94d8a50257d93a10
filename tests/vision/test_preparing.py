from __future__ import annotations

import dataclasses

import pytest

from autotune.testing import tiny_data
from autotune.vision import preprocess_for


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
