from __future__ import annotations

import torch

from autotune.vision import Images, Placement, build_policy


def batches(images, epoch, size=16):
    """An epoch's batches."""
    return list(images.epoch(epoch, size))


def test_an_epoch_has_every_image_once_in_nearly_equal_batches(split, preprocess):
    """Ninety images in batches of 16 are six batches of 15; no batch is a remnant."""
    images = Images(split, preprocess, Placement("cpu"), seed=1)
    labels = [b for _, b in batches(images, 0)]
    assert [len(b) for b in labels] == [15] * 6
    assert torch.equal(torch.cat(labels).sort().values, torch.from_numpy(split.labels).sort().values)


def test_order_and_views_depend_on_seed_and_epoch_only(split, preprocess):
    """The same seed and epoch give the same bits, whatever was drawn before; another epoch gives others."""
    policy = build_policy("trivial", 16, "bilinear")
    one = Images(split, preprocess, Placement("cpu"), seed=1, policy=policy)
    two = Images(split, preprocess, Placement("cpu"), seed=1, policy=policy)
    batches(one, 0)
    torch.manual_seed(99)
    for (a, x), (b, y) in zip(batches(one, 3), batches(two, 3), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(x, y)
    assert not torch.equal(batches(one, 3)[0][0], batches(one, 4)[0][0])


def test_drawing_views_leaves_the_global_generator_alone(split, preprocess):
    """Dropout draws the same numbers with and without augmentation in the same process."""
    images = Images(split, preprocess, Placement("cpu"), policy=build_policy("heavy", 16, "bilinear"))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    batches(images, 0)
    assert torch.equal(torch.rand(3), expected)


def test_evaluation_keeps_the_order_and_normalises(preprocess, coloured):
    """Plain inputs are in the side's order, in [-1, 1] for mean and deviation 0.5, in channels_last."""
    split = coloured(70)
    inputs = list(Images(split, preprocess, Placement("cpu")).plain())
    assert [len(i) for i in inputs] == [64, 6]
    assert inputs[0].shape[1:] == (3, 16, 16)
    assert inputs[0].is_contiguous(memory_format=torch.channels_last)
    assert -1.0 <= inputs[0].min() < 0 < inputs[0].max() <= 1.0
    brightest = torch.cat(inputs).mean((2, 3)).argmax(1)
    assert torch.equal(brightest, torch.from_numpy(split.labels))
