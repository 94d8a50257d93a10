"""The checks of data sources find what is broken; those of backbones and augmentations run on what is built in."""

from __future__ import annotations

import numpy as np
import pytest

import autotune
from autotune.builtin import digits, folders, policies
from autotune.testing import (
    AUGMENTATION_CHECKS,
    DATA_SOURCE_CHECKS,
    AugmentationSuite,
    BackboneSourceSuite,
    ContractError,
    DataSourceCase,
    DataSourceSuite,
    MemorySource,
    augmentations,
    backbones,
    sources,
    tiny_folder,
    tiny_images,
)

IMAGES, LABELS = tiny_images()
NAMES = [f"class-{label}" for label in LABELS]


class Shuffled(MemorySource):
    """Lists its images in another order each time."""

    def items(self):
        items = list(super().items())
        return [items[i] for i in np.random.default_rng().permutation(len(items))]


class Twice(MemorySource):
    """Lists an image twice."""

    def items(self):
        return [*super().items(), autotune.Item(key="0", label="class-0")]


class Numbered(MemorySource):
    """Labels with numbers."""

    def items(self):
        return [autotune.Item(key=str(i), label=i) for i in range(4)]


class Grey(MemorySource):
    """Decodes to one channel."""

    def read(self, key):
        return super().read(key)[..., 0]


class Bright(MemorySource):
    """Decodes to floats."""

    def read(self, key):
        return super().read(key) / 255


class Noisy(MemorySource):
    """Decodes to other pixels each time."""

    def read(self, key):
        return super().read(key) ^ np.random.default_rng().integers(0, 2, (16, 16, 3), dtype=np.uint8)


class Crashing(MemorySource):
    """Raises what it likes for an image that is not there."""

    def read(self, key):
        return self.images[int(key)]


class Headless(MemorySource):
    """Hands out bytes that are no image."""

    def content(self, key):
        return self.images[0].tobytes()


class Inventing(MemorySource):
    """Has an image for every key."""

    def read(self, key):
        return self.images[0]


def case(source=MemorySource, accepts=lambda location: location == "mem", labels=NAMES):
    """A data source of one kind."""
    spec = autotune.DataSourceSpec(
        name="mem", summary="mem", accepts=accepts, open=lambda location: source(list(IMAGES), labels)
    )
    return DataSourceCase(spec=spec, location="mem")


@pytest.mark.parametrize(
    ("broken", "check", "said"),
    [
        (case(accepts=lambda location: True), "check_accepts", "accepts 'no-such-place"),
        (case(accepts=lambda location: False), "check_accepts", "does not accept 'mem'"),
        (case(Shuffled), "check_items", "in another order"),
        (case(Twice), "check_items", "listed twice"),
        (case(Numbered), "check_items", "is not a name"),
        (case(labels=["a"] * 36), "check_items", "fewer than two classes"),
        (case(Grey), "check_reads", "not .H, W, 3"),
        (case(Bright), "check_reads", "must be uint8"),
        (case(Noisy), "check_reads", "other pixels"),
        (case(Headless), "check_content", "not the bytes of an image"),
        (case(Crashing), "check_missing", "no autotune.DataError"),
        (case(Inventing), "check_missing", "returns"),
        (case(lambda *_: 3), "check_items", "no autotune.DataSource"),
    ],
)
def test_a_broken_data_source_is_found_out(broken, check, said):
    """Each broken promise is found by its check."""
    with pytest.raises(ContractError, match=said):
        getattr(sources, check)(broken)


def test_a_good_source_passes_without_pytest():
    """The checks are plain functions."""
    for check in DATA_SOURCE_CHECKS:
        check(case())


class TestFolders(DataSourceSuite):
    """Class folders keep every promise of a data source."""

    (spec,) = folders.autotune_data_sources()

    def make_location(self, folder):
        return str(tiny_folder(folder))


@pytest.mark.parametrize("spec", list(policies.autotune_augmentations()), ids=lambda spec: spec.name)
def test_built_in_policies_keep_the_contract(spec):
    """Every built-in policy passes every check."""
    for check in AUGMENTATION_CHECKS:
        check(spec)


def shifting(size, interpolation):
    """Shifts brightness by Python's generator, not by torch's."""
    import random

    import torch

    def draw(image):
        if image.shape[-1] != image.shape[-2]:
            image = image[:, :1, :1]
        view = torch.nn.functional.interpolate(image[None].float(), (size, size))[0].to(torch.uint8)
        return view + random.randrange(9)

    return draw


@pytest.mark.parametrize(
    ("build", "check", "said"),
    [
        (lambda size, interpolation: lambda image: image, "check_draws", "16x16 becomes .3, 16, 16., not|24"),
        (lambda size, interpolation: lambda image: image.float(), "check_draws", "not uint8"),
        (lambda size, interpolation: lambda image: image.numpy(), "check_draws", "no tensor"),
        (lambda size, interpolation: lambda image: image.zero_(), "check_draws", "changes the image|becomes"),
        (shifting, "check_seeded", "torch's global generator only|Python's generator"),
    ],
)
def test_a_broken_policy_is_found_out(build, check, said):
    """A policy that returns something else, changes its input or draws elsewhere is found."""
    with pytest.raises(ContractError, match=said):
        getattr(augmentations, check)(autotune.AugmentationSpec(name="odd", summary="", build=build))


class Batches:
    """A batch policy of a few faults, by name."""

    numbers = 1

    def __init__(self, fault, size):
        self.fault, self.size = fault, size

    def __call__(self, images, numbers, sizes=None):
        import torch

        shifts = numbers[:, :1, None, None]
        if self.fault == "neighbours":
            shifts = shifts.mean(0, keepdim=True)
        if self.fault == "place":
            shifts = torch.linspace(0, 1, len(images)).view(-1, 1, 1, 1)
        if self.fault == "generator":
            torch.rand(1)
        if self.fault == "changes":
            images.zero_()
        views = images[:, :, :1, :1] * shifts + torch.zeros(1, 1, self.size, self.size)
        if self.fault == "floats":
            return views
        return views.to(torch.uint8)[..., : 1 if self.fault == "narrow" else None]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("neighbours", "what else is in the batch"),
        ("place", "its place in the batch"),
        ("generator", "draws from a generator"),
        ("changes", "changes the batch"),
        ("floats", "float32, not uint8"),
        ("narrow", "a batch of 7 becomes .7, 3, 16, 1."),
    ],
)
def test_a_broken_batch_policy_is_found_out(fault, said):
    """Draws that hang together, other generators, other shapes and changed inputs are found."""
    spec = autotune.AugmentationSpec(
        name="odd", summary="", build=print, build_batch=lambda size, interpolation: Batches(fault, size)
    )
    with pytest.raises(ContractError, match=said):
        augmentations.check_batch(spec)


def test_a_sound_batch_policy_passes():
    """A policy that takes each image's own number keeps the contract, and so does one that has no batches."""
    sound = autotune.AugmentationSpec(
        name="sound", summary="", build=print, build_batch=lambda size, interpolation: Batches(None, size)
    )
    augmentations.check_batch(sound)
    augmentations.check_batch(autotune.AugmentationSpec(name="one", summary="", build=print))


@pytest.mark.parametrize(
    ("suite", "module", "function"),
    [
        (DataSourceSuite, sources, "DATA_SOURCE_CHECKS"),
        (BackboneSourceSuite, backbones, "BACKBONE_CHECKS"),
        (AugmentationSuite, augmentations, "AUGMENTATION_CHECKS"),
    ],
)
def test_the_suites_run_every_check(suite, module, function):
    """Each check has its test in the suite, and is in the list for those without pytest."""
    checks = {name for name in vars(module) if name.startswith("check_")}
    assert {check.__name__ for check in getattr(module, function)} == checks
    assert {f"check_{name.removeprefix('test_')}" for name in vars(suite) if name.startswith("test_")} == checks


def test_digits_through_the_plain_checks():
    """The checks take any source, here the one that comes with scikit-learn."""
    (spec,) = digits.autotune_data_sources()
    for check in DATA_SOURCE_CHECKS:
        check(DataSourceCase(spec=spec, location="digits"))
