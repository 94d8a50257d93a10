from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from autotune import AugmentationSpec
from autotune.builtin.policies import autotune_augmentations
from autotune.vision import ArrayCache, Images, Placement, evaluation_view, normalise, to_array

CPU = Placement("cpu")
SPECS = {spec.name: spec for spec in autotune_augmentations()}
VARIED = sorted(set(SPECS) - {"none"})


def batches(images, epoch, size=16):
    """An epoch's inputs and labels."""
    return [(inputs, labels) for (inputs,), labels in images.epoch(epoch, size)]


def whole(images, epoch, size=16):
    """An epoch's inputs as one tensor, in the order of the epoch."""
    return torch.cat([inputs for inputs, _ in batches(images, epoch, size)])


def as_bytes(inputs):
    """The bytes of every image, in any order."""
    return sorted(image.numpy().tobytes() for image in inputs)


def shift(size, interpolation):
    """A guest's policy: other brightness in every draw."""

    def draw(image):
        view = torch.nn.functional.interpolate(image[None].float(), (size, size))[0]
        return (view * torch.rand(())).to(torch.uint8)

    return draw


GUEST = AugmentationSpec(name="guest", summary="", build=shift)


def test_an_epoch_has_every_image_once_in_nearly_equal_batches(split, preprocess):
    """Ninety images in batches of 16 are six batches of 15; no batch is a remnant."""
    images = Images(split, preprocess, CPU, seed=1)
    labels = [b for _, b in batches(images, 0)]
    assert [len(b) for b in labels] == [15] * 6
    assert torch.equal(torch.cat(labels).sort().values, torch.from_numpy(split.labels).sort().values)


@pytest.mark.parametrize("spec", [SPECS["trivial"], SPECS["heavy"], GUEST], ids=lambda spec: spec.name)
def test_order_and_views_depend_on_seed_and_epoch_only(split, preprocess, spec):
    """The same seed and epoch give the same bits, whatever was drawn before; another epoch or seed gives others."""
    one = Images(split, preprocess, CPU, seed=1, policy=spec)
    two = Images(split, preprocess, CPU, seed=1, policy=spec)
    batches(one, 0)
    torch.manual_seed(99)
    for (a, x), (b, y) in zip(batches(one, 3), batches(two, 3), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(x, y)
    assert not torch.equal(batches(one, 3)[0][0], batches(one, 4)[0][0])
    other = Images(split, preprocess, CPU, seed=2, policy=spec)
    assert not torch.equal(whole(one, 3).sort(dim=0).values, whole(other, 3).sort(dim=0).values)


@pytest.mark.parametrize("spec", [*(SPECS[name] for name in VARIED), GUEST], ids=lambda spec: spec.name)
def test_a_draw_does_not_depend_on_its_batch(split, preprocess, spec):
    """Batches of one, seven and ninety images give every image the same bits."""
    images = Images(split, preprocess, CPU, seed=5, policy=spec)
    seven = whole(images, 2, 7)
    assert torch.equal(seven, whole(images, 2, 90))
    assert torch.equal(seven, whole(images, 2, 1))


def test_drawing_views_leaves_the_global_generator_alone(split, preprocess):
    """Dropout draws the same numbers with and without augmentation in the same process."""
    for spec in (SPECS["heavy"], GUEST):
        images = Images(split, preprocess, CPU, policy=spec)
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        batches(images, 0)
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("spec", [SPECS["augmix"], GUEST], ids=lambda spec: spec.name)
def test_epochs_walk_through_fixed_views_that_no_trial_changes(split, preprocess, spec):
    """With three views, epochs 1 and 4 see the second one, in whatever trial; view() gives it in the side's order."""
    one = Images(split, preprocess, CPU, seed=1, policy=spec, views=3)
    two = Images(split, preprocess, CPU, seed=2, policy=spec, views=3)
    views = [torch.cat([inputs for (inputs,) in one.view(v)]) for v in range(3)]
    for v in range(3):
        assert torch.equal(views[v], torch.cat([inputs for (inputs,) in two.view(v)]))
    assert not torch.equal(views[0], views[1])
    for epoch in (1, 4):
        assert as_bytes(whole(two, epoch)) == as_bytes(views[1])
    assert not torch.equal(whole(one, 1), whole(one, 4))


def digests():
    """A digest of a view by each policy; complete in itself, so that another process can run its source."""
    import hashlib

    import numpy as np

    from autotune import Preprocess, Split
    from autotune.builtin.policies import autotune_augmentations
    from autotune.vision import Images, Placement

    images = np.random.default_rng(3).integers(0, 256, (20, 20, 24, 3), dtype=np.uint8)
    keys = tuple(map(str, range(20)))
    split = Split(ids=keys, labels=np.zeros(20, dtype=np.int64), keys=keys, reader=lambda key: images[int(key)])
    preprocess = Preprocess(img_size=16, crop_pct=1.0, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")
    found = []
    for spec in autotune_augmentations():
        seen = Images(split, preprocess, Placement("cpu"), seed=1, policy=spec, views=2).view(1)
        found.append(hashlib.sha256(b"".join(inputs.numpy().tobytes() for (inputs,) in seen)).hexdigest())
    return found


def test_views_are_the_same_in_another_process():
    """A view's bits depend on nothing that a process brings with it."""
    script = [sys.executable, "-c", inspect.getsource(digests) + "print(*digests())"]
    there = subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()
    assert digests() == there
    assert len(set(there)) == 6


def test_evaluation_keeps_the_order_and_normalises(preprocess, coloured):
    """Plain inputs are in the side's order, in [-1, 1] for mean and deviation 0.5, in channels_last."""
    split = coloured(70)
    inputs = [batch for (batch,) in Images(split, preprocess, CPU).plain()]
    assert [len(i) for i in inputs] == [64, 6]
    assert inputs[0].shape[1:] == (3, 16, 16)
    assert inputs[0].is_contiguous(memory_format=torch.channels_last)
    assert -1.0 <= inputs[0].min() < 0 < inputs[0].max() <= 1.0
    brightest = torch.cat(inputs).mean((2, 3)).argmax(1)
    assert torch.equal(brightest, torch.from_numpy(split.labels))


@pytest.mark.parametrize("policy", [None, SPECS["none"]], ids=["nothing", "none"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
def test_without_a_policy_training_sees_what_evaluation_sees(split, preprocess, tmp_path, policy, crop_pct):
    """Each input is exactly the evaluation view of its image, in memory and from the cache, and is said to be fixed."""
    shown = replace(preprocess, crop_pct=crop_pct, interpolation="bicubic", std=(0.2, 0.3, 0.4))
    view = evaluation_view(shown)
    expected = torch.stack([view(to_array(split.image(i))) for i in range(len(split))])
    expected = (expected - torch.tensor(shown.mean).view(3, 1, 1) * 255) / (torch.tensor(shown.std).view(3, 1, 1) * 255)
    for cache in (None, ArrayCache(tmp_path)):
        images = Images(split, shown, CPU, policy=policy, cache=cache)
        assert images.fixed
        assert torch.equal(torch.cat([inputs for (inputs,) in images.plain()]), expected)
        assert torch.equal(torch.cat([inputs for (inputs,) in images.view(1)]), expected)
        assert as_bytes(whole(images, 0)) == as_bytes(expected)
    assert not Images(split, shown, CPU, policy=SPECS["trivial"]).fixed


def counting(split):
    """The side, and a list of the keys that were read."""
    read = []

    def reader(key):
        read.append(key)
        return split.reader(key)

    return replace(split, reader=reader), read


def test_trials_share_what_one_of_them_decoded(split, preprocess, tmp_path):
    """Nothing is decoded twice: another epoch, another trial and another policy read the cache."""
    counted, read = counting(split)
    images = Images(counted, preprocess, CPU, policy=SPECS["trivial"], cache=ArrayCache(tmp_path))
    first = whole(images, 0)
    list(images.plain())
    # Each image once for evaluation and once for augmentation, after a look at the sizes.
    assert len(read) == 3 * len(split)
    read.clear()
    again = Images(counted, preprocess, CPU, policy=SPECS["trivial"], cache=ArrayCache(tmp_path))
    assert torch.equal(whole(again, 0), first)
    whole(again, 1)
    list(again.plain())
    whole(Images(counted, preprocess, CPU, policy=SPECS["heavy"], cache=ArrayCache(tmp_path), seed=7), 0)
    assert read == []
    assert {(entry.kind, entry.facts["what"]) for entry in ArrayCache(tmp_path).ls()} == {
        ("images", "images as evaluation sees them"),
        ("images", "images for augmentation"),
    }


def test_without_room_images_are_decoded_for_every_batch(split, preprocess, tmp_path, monkeypatch):
    """Where neither disk nor memory has room the inputs are the same bits, and the trial says why it is slower."""
    spec = SPECS["flip-crop"]
    expected = whole(Images(split, preprocess, CPU, policy=spec, cache=ArrayCache(tmp_path / "room")), 0)
    monkeypatch.setattr("autotune.vision.arraybuild.memory_of_machine", lambda: 8)
    for cache in (None, ArrayCache(tmp_path / "none", limit=0)):
        notes: list[str] = []
        images = Images(split, preprocess, CPU, policy=spec, cache=cache, note=notes.append)
        assert torch.equal(whole(images, 0), expected)
        assert len(list(images.plain())) == 2
        assert len(notes) == 2
        assert all("decoded anew for every batch" in note for note in notes)


def test_a_cache_that_is_replaced_in_use_is_made_anew(split, preprocess, tmp_path):
    """An altered file is noticed before the next epoch, which sees the right bits."""
    images = Images(split, preprocess, CPU, cache=ArrayCache(tmp_path))
    expected = whole(images, 0)
    (file,) = tmp_path.rglob("0.bin")
    file.write_bytes(bytes(file.stat().st_size))
    assert torch.equal(whole(images, 0), expected)


def test_decoding_ahead_stops_when_the_host_says_so(split, preprocess, tmp_path):
    """Asked once a chunk; when it says no, the batch that was wanted comes, and nothing unfinished is kept."""
    images = Images(split, preprocess, CPU, cache=ArrayCache(tmp_path), keep_going=lambda: False)
    assert len(next(images.plain())[0]) == 64
    assert ArrayCache(tmp_path).ls() == []


def test_the_last_batch_of_an_epoch_need_not_be_read(split, preprocess):
    """A training that stops in the middle of an epoch leaves nothing behind that the next epoch would see."""
    images = Images(split, preprocess, CPU, policy=SPECS["trivial"])
    expected = whole(images, 1)
    begun = images.epoch(0, 16)
    next(begun)
    begun.close()
    assert torch.equal(whole(images, 1), expected)


def test_what_is_seen_has_a_name_that_changes_with_it(split, preprocess, coloured):
    """Other views, policies, sizes or sides have other names; another trial's seed has not."""
    images = Images(split, preprocess, CPU, policy=SPECS["trivial"], views=2)
    names = {
        images.seen(None),
        images.seen(0),
        images.seen(1),
        Images(split, preprocess, CPU, policy=SPECS["heavy"], views=2).seen(0),
        Images(split, replace(preprocess, img_size=24), CPU).seen(None),
        Images(split, replace(preprocess, mean=(0.1, 0.2, 0.3)), CPU).seen(None),
    }
    assert len(names) == 6
    assert Images(split, preprocess, CPU, policy=SPECS["trivial"], seed=9, views=2).seen(1) == images.seen(1)
    assert Images(coloured(90, seed=1), preprocess, CPU).digest != images.digest
    assert Images(split, preprocess, CPU, seed=4).digest == images.digest


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalising_subtracts_the_mean_and_divides_by_the_deviation(preprocess, layout):
    """Whatever the layout of the bytes, each channel has its own mean and deviation; the result is channels_last."""
    shown = replace(preprocess, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    images = torch.randint(0, 256, (5, 3, 8, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (shown.mean, shown.std))
    inputs = normalise(images.contiguous(memory_format=layout), shown)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(inputs, (images / 255 - mean) / std, atol=1e-6)


def test_the_digest_names_images_in_their_order(split, preprocess):
    """The same images in another order are another side: rows are kept in the side's order."""
    turned = split.take(list(range(len(split)))[::-1])
    assert Images(turned, preprocess, CPU).digest != Images(split, preprocess, CPU).digest


def test_another_version_of_a_policy_is_seen_as_something_else(split, preprocess):
    """A policy of the same name that draws something else gives its views other names; the same one the same."""

    def darker(size, interpolation):
        draw = shift(size, interpolation)
        return lambda image: draw(image) // 2

    first, again, other = (
        Images(split, preprocess, CPU, policy=replace(GUEST, build=build), views=2) for build in (shift, shift, darker)
    )
    assert first.seen(1) == again.seen(1)
    assert first.seen(1) != other.seen(1)
    assert first.seen(None) == other.seen(None)


@pytest.mark.parametrize(
    ("name", "sizes"), [(name, (8, 64) if name in ("none", "flip-crop") else (200, 400)) for name in SPECS]
)
def test_a_batch_takes_as_much_python_whatever_its_size(preprocess, tmp_path, coloured, monkeypatch, name, sizes):
    """In one piece, as on a GPU, no function is called for each image.

    Where a policy draws operations, the batches are so large that all of them occur in both.
    """
    monkeypatch.setattr("autotune.vision.pieces.ELEMENTS", 2**40)
    images = Images(coloured(800), preprocess, CPU, seed=1, policy=SPECS[name], cache=ArrayCache(tmp_path))
    batches(images, 0, 200)

    def calls(size):
        epoch = images.epoch(1, size)
        next(epoch)
        seen = []
        before = sys.getprofile()
        sys.setprofile(lambda _, event, __: seen.append(event))
        try:
            next(epoch)
        finally:
            sys.setprofile(before)
        return seen.count("call"), seen.count("c_call")

    few, many = map(calls, sizes)
    assert few == many
