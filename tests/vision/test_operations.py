from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_sample_images
from torchvision.transforms import InterpolationMode, v2

from autotune.vision.augment import augmix, rand, wide
from autotune.vision.operations import GEOMETRIC, KINDS, SIGNED, choose, operate

SIDE = 48
BINS = 31
THEIRS = v2.TrivialAugmentWide()
# What torchvision adds up with one rounding, these do with two: a grey value may be off by one where it is cut off.
NEARLY = {"Color": 0.01, "Contrast": 0.01, "Sharpness": 0.01, **dict.fromkeys(GEOMETRIC, 0.01)}


@pytest.fixture(scope="module")
def photos():
    """Cuttings of two photographs, uint8 [31, 3, 48, 48]."""
    photos = [torch.from_numpy(photo.copy()).permute(2, 0, 1) for photo in load_sample_images().images]
    torch.manual_seed(0)
    cut = v2.RandomResizedCrop(SIDE, scale=(0.1, 0.5))
    return torch.stack([cut(photos[i % 2]) for i in range(BINS)])


def theirs(image, kind, magnitude, mode):
    """What torchvision makes of one image."""
    return THEIRS._apply_image_or_video_transform(
        image, kind, float(magnitude), interpolation=InterpolationMode(mode), fill=THEIRS._fill
    )


@pytest.mark.parametrize("kind", KINDS)
def test_operations_are_torchvisions(photos, kind):
    """At every strength, with either sign and interpolation: equal, but for few pixels where rounding decides."""
    strengths = wide().space.magnitudes[KINDS.index(kind)]
    for sign in (1, -1) if kind in SIGNED else (1,):
        for mode in ("nearest", "bilinear") if kind in GEOMETRIC else ("nearest",):
            ours = operate(photos, torch.full((BINS,), KINDS.index(kind)), strengths * sign, mode=mode)
            expected = torch.stack(
                [theirs(image, kind, m * sign, mode) for image, m in zip(photos, strengths, strict=True)]
            )
            different = (ours.int() - expected.int()).abs()
            assert different.float().mean() <= NEARLY.get(kind, 0)
            if kind not in GEOMETRIC or mode == "bilinear":
                assert different.max() <= 1


def test_constant_and_tiny_images_come_through(photos):
    """Images that cannot be stretched, equalised or sharpened are left alone, as torchvision leaves them."""
    for images in (torch.full((5, 3, 9, 9), 77, dtype=torch.uint8), photos[:5, :, :2, :2]):
        for kind in ("AutoContrast", "Equalize", "Sharpness", "Contrast"):
            ours = operate(images, torch.full((5,), KINDS.index(kind)), torch.full((5,), 0.5).double())
            assert torch.equal(ours, torch.stack([theirs(image, kind, 0.5, "nearest") for image in images]))


def test_every_image_of_a_batch_has_its_own_operation(photos):
    """A mixed batch is what its images become one by one, and the batch itself is left as it was."""
    kinds = torch.arange(BINS) % len(KINDS)
    strengths = wide().space.magnitudes[kinds, torch.arange(BINS)]
    before = photos.clone()
    mixed = operate(photos, kinds, strengths)
    assert torch.equal(photos, before)
    for i in range(BINS):
        assert torch.equal(mixed[i], operate(photos[i : i + 1], kinds[i : i + 1], strengths[i : i + 1])[0])


@pytest.mark.parametrize(
    ("space", "reference", "bins"),
    [
        (wide().space, v2.TrivialAugmentWide(), 31),
        (rand(SIDE, "bilinear").steps[0].space, v2.RandAugment(), 31),
        (augmix(SIDE, "bilinear").steps[0].space, v2.AugMix(), 10),
    ],
    ids=["trivial", "rand", "augmix"],
)
def test_spaces_are_torchvisions(space, reference, bins):
    """The same operations, the same strengths, and the same ones with a sign."""
    table = reference._AUGMENTATION_SPACE
    assert {KINDS[i] for i in space.kinds.tolist()} == set(table)
    assert space.bins == bins
    for kind, (strengths, signed) in table.items():
        expected = strengths(bins, SIDE, SIDE)
        found = space.magnitudes[KINDS.index(kind)]
        assert torch.equal(found, torch.zeros(bins) if expected is None else expected.double())
        assert signed == (kind in SIGNED)


def test_choices_are_even():
    """Each operation is as frequent as any other, and one half of those with a sign is negative."""
    count = 28000
    table = torch.rand(count, 2, generator=torch.Generator().manual_seed(0))
    kinds, magnitudes = choose(wide().space, table[:, 0], table[:, 1], torch.full((count,), 30))
    expected = count / len(KINDS)
    assert bool(((torch.bincount(kinds, minlength=len(KINDS)) - expected).abs() < 5 * expected**0.5).all())
    signed = kinds == KINDS.index("Rotate")
    assert abs(int((magnitudes[signed] < 0).sum()) - expected / 2) < 5 * (expected / 4) ** 0.5
    assert set(magnitudes[signed].tolist()) == {135.0, -135.0}
    assert bool((magnitudes[kinds == KINDS.index("Posterize")] == 2).all())
