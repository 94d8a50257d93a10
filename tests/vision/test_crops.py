from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_sample_images
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tvf

from autotune.vision import crops

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
DRAWS = 4000


@pytest.fixture(scope="module")
def photos():
    """Sixteen cuttings of two photographs, uint8 [16, 3, 60, 72]."""
    photos = [torch.from_numpy(photo.copy()).permute(2, 0, 1) for photo in load_sample_images().images]
    torch.manual_seed(0)
    cut = v2.RandomResizedCrop((60, 72), scale=(0.1, 0.5))
    return torch.stack([cut(photos[i % 2]) for i in range(16)])


def uniform(count, width=crops.NUMBERS, seed=1):
    """A table of uniform numbers."""
    return torch.rand(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [24, 60, 96])
def test_crops_are_torchvisions(photos, interpolation, size):
    """Enlarged, shrunk or neither, a crop differs from torchvision's in few pixels and by no more than rounding."""
    boxes = crops.random_boxes(uniform(16), torch.tensor([[60, 72]]).expand(16, 2), 0.25)
    mirrored = torch.arange(16) % 2 == 0
    found = crops.crop(photos, boxes, size, interpolation, mirrored=mirrored)
    for image, box, flip, square in zip(photos, boxes.int().tolist(), mirrored, found, strict=True):
        expected = tvf.resized_crop(image, *box, size=[size, size], interpolation=MODES[interpolation], antialias=True)
        expected = expected.flip(-1) if flip else expected
        difference = (expected.int() - square.int()).abs()
        assert difference.max() <= 2
        assert difference.float().mean() < 0.1


def test_a_crop_of_everything_at_its_own_size_is_the_image(photos):
    """Nothing is resampled where nothing has to be."""
    square = photos[..., :60]
    boxes = torch.tensor([[0.0, 0, 60, 60]], dtype=torch.float64).expand(16, 4)
    for interpolation in MODES:
        assert torch.equal(crops.crop(square, boxes, 60, interpolation), square)


def test_a_crop_is_the_same_bits_in_any_batch(photos):
    """Alone, among others, or in a batch large enough to be cut in pieces, an image gives the same pixels."""
    many = photos.repeat(20, 1, 1, 1)
    boxes = crops.random_boxes(uniform(320), torch.tensor([[60, 72]]).expand(320, 2), 0.25)
    whole = crops.crop(many, boxes, 40, "bicubic")
    for i in (0, 17, 319):
        assert torch.equal(crops.crop(many[i : i + 1], boxes[i : i + 1], 40, "bicubic")[0], whole[i])


def test_boxes_may_be_smaller_than_a_pixel_of_what_was_squeezed():
    """A sliver of a very long image, squeezed into a square, still shows the pixel that it lies on."""
    image = torch.arange(10, dtype=torch.uint8).mul(20).view(1, 1, 1, 10).expand(1, 3, 10, 10)
    for left, expected in ((0.0, 0), (4.5, 80), (9.95, 180)):
        box = torch.tensor([[0.0, left, 10.0, 0.05]], dtype=torch.float64)
        square = crops.crop(image, box, 8, "bilinear")
        assert abs(int(square.float().mean()) - expected) <= 10


def areas_and_ratios(boxes, height, width):
    """Shares of the area and ratios of width to height, of boxes [N, 4]."""
    _, _, h, w = boxes.unbind(1)
    return h * w / (height * width), w / h


@pytest.mark.parametrize(("height", "width"), [(96, 96), (28, 28), (60, 120), (300, 40)])
@pytest.mark.parametrize("smallest", [0.25, 0.7])
def test_boxes_are_distributed_as_torchvisions(height, width, smallest):
    """Areas, ratios and places have torchvision's distributions, those of elongated images included."""
    cut = v2.RandomResizedCrop(32, scale=(smallest, 1.0))
    torch.manual_seed(3)
    shape = torch.empty(3, height, width)
    drawn = [cut.make_params([shape]) for _ in range(DRAWS)]
    theirs = torch.tensor([[d["top"], d["left"], d["height"], d["width"]] for d in drawn]).double()
    ours = crops.random_boxes(uniform(DRAWS), torch.tensor([[height, width]]).expand(DRAWS, 2), smallest)
    assert bool(((ours[:, :2] >= 0) & (ours[:, :2] + ours[:, 2:] <= torch.tensor([height, width]))).all())
    for one, two in zip(
        (*areas_and_ratios(ours, height, width), *ours.unbind(1)),
        (*areas_and_ratios(theirs, height, width), *theirs.unbind(1)),
        strict=True,
    ):
        assert same_distribution(one, two)


def same_distribution(one, two):
    """The Kolmogorov-Smirnov test of two samples of equal size, at a level of one in a million."""
    places = torch.cat((one, two)).unique()
    shares = [torch.searchsorted(sample.sort().values, places, right=True) / len(sample) for sample in (one, two)]
    return (shares[0] - shares[1]).abs().max() < math.sqrt(-math.log(1e-6 / 2) / len(one))


def test_erased_boxes_are_distributed_as_torchvisions():
    """Areas, ratios and places of what is erased have torchvision's distributions."""
    erase = v2.RandomErasing(p=1.0)
    torch.manual_seed(3)
    shape = torch.empty(3, 32, 32)
    drawn = [erase.make_params([shape]) for _ in range(DRAWS)]
    theirs = torch.tensor([[d["i"], d["j"], d["h"], d["w"]] for d in drawn]).double()
    ours = crops.inner_boxes(uniform(DRAWS), 32, (0.02, 0.33), (0.3, 3.3))
    assert bool((ours[:, 2:] < 32).all())
    for one, two in zip(
        (*areas_and_ratios(ours, 32, 32), *ours.unbind(1)),
        (*areas_and_ratios(theirs, 32, 32), *theirs.unbind(1)),
        strict=True,
    ):
        assert same_distribution(one, two)


def test_the_test_of_distributions_can_fail():
    """A shift of a tenth of the deviation is found."""
    one, two = torch.randn(DRAWS, generator=torch.Generator().manual_seed(0)), torch.randn(DRAWS)
    assert not same_distribution(one, two + 0.2)


def test_middle_boxes_are_the_largest_squares():
    """Wide, tall and square images."""
    boxes = crops.middle_boxes(torch.tensor([[10, 20], [21, 10], [7, 7]]))
    assert boxes.tolist() == [[0, 5, 10, 10], [5, 0, 10, 10], [0, 0, 7, 7]]
