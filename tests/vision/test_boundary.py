"""Training from the boundary: kept or computed anew, the weights are the same."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch

from autotune.plugins import load_plugins
from autotune.vision import (
    ArrayCache,
    Average,
    Boundaries,
    BoundaryFeed,
    Cuts,
    Images,
    Placement,
    Rates,
    Trained,
    arraybuild,
    costs,
    evaluate,
    freeze,
    make_mix,
    make_optimizer,
    train_epoch,
)

CPU = Placement("cpu")


def yes():
    """Always goes on."""
    return True


class Training:
    """A small network with one block unfrozen, its boundary, and a side."""

    def __init__(self, backbone, split, preprocess, folder, *, policy=None, views=0, mixup=0.0, dtype=None, limit=None):
        torch.manual_seed(0)
        self.notes = []
        self.module = CPU.module(backbone.build(3, drop=0.1)).eval()
        partition = freeze(self.module, backbone, 1)
        self.cache = ArrayCache(folder / "cache", limit)
        policy = load_plugins().augmentations[policy] if policy else None
        self.images = Images(split, preprocess, CPU, seed=3, policy=policy, views=views, cache=self.cache)
        self.cuts = Cuts(self.module, backbone, img_size=preprocess.img_size, folder=None)
        self.boundaries = Boundaries(
            self.cuts, backbone.weights.digest, CPU, self.cache, dtype=dtype, note=self.notes.append
        )
        self.cut = self.cuts.at(1)
        live = {n: t for n, t in self.module.state_dict(keep_vars=True).items() if n in partition.trained}
        rates = Rates(lr=0.01, lr_blocks=0.01, layer_decay=0.9, opt="adamw", momentum=0.9, weight_decay=0.01)
        self.trained = Trained(
            module=self.module,
            partition=partition,
            optimizer=make_optimizer(self.module, partition, rates),
            average=Average(live, 6),
            placement=CPU,
            smoothing=0.05,
            mix=make_mix(mixup, 0, 3),
            warmup_steps=3,
            note=self.notes.append,
            forward=self.cut.suffix,
        )

    def feed(self, keep):
        """The side as the trained part sees it."""
        return BoundaryFeed(self.images, self.boundaries, self.cut, keep=keep, keep_going=yes)

    def run(self, feed, epochs=3, forward=None):
        """Trains, and returns all weights."""
        self.trained.forward = forward or self.trained.forward
        for epoch in range(epochs):
            train_epoch(self.trained, feed, epoch=epoch, batch_size=16, seed=3, keep_going=yes)
        return {n: t.detach().clone() for n, t in self.module.state_dict().items()}


def same(one, two, atol=1e-5):
    """Whether two sets of weights are equal to rounding."""
    return one.keys() == two.keys() and all(torch.allclose(one[n], two[n], rtol=0, atol=atol) for n in one)


@pytest.mark.parametrize(
    "recipe", [{}, {"policy": "trivial", "views": 2}, {"mixup": 0.4}, {"policy": "flip-crop", "views": 3, "mixup": 0.2}]
)
def test_kept_and_computed_anew_train_the_same_weights(backbone, split, preprocess, tmp_path, recipe):
    """Three epochs from kept activations end in the weights of three epochs without any."""
    kept = Training(backbone, split, preprocess, tmp_path / "a", **recipe)
    anew = Training(backbone, split, preprocess, tmp_path / "b", **recipe)
    assert same(kept.run(kept.feed(True)), anew.run(anew.feed(False)))
    kinds = {entry.kind for entry in kept.cache.ls()}
    assert "activations" in kinds
    assert "activations" not in {entry.kind for entry in anew.cache.ls()}


def test_without_mixing_the_boundary_is_the_whole_network(backbone, split, preprocess, tmp_path):
    """Training through the boundary is training the network as it is, to rounding where the frozen part is fused.

    A bias that batch statistics take away again has rounding for a gradient, of which AdamW makes whole steps.
    """
    cut = Training(backbone, split, preprocess, tmp_path / "a")
    whole = Training(backbone, split, preprocess, tmp_path / "b")
    assert cut.cut.fused is not None
    found, expected = cut.run(cut.feed(True)), whole.run(whole.images, forward=whole.module)
    for weights in (found, expected):
        del weights["top.0.bias"], weights["top.1.running_mean"]
    assert same(found, expected)


def test_without_fusing_every_weight_is_that_of_the_whole_network(backbone, split, preprocess, tmp_path, monkeypatch):
    """The same operations above and beneath the boundary."""
    monkeypatch.setattr("autotune.vision.cuts.fuse", lambda *_: None)
    cut = Training(backbone, split, preprocess, tmp_path / "a")
    whole = Training(backbone, split, preprocess, tmp_path / "b")
    assert same(cut.run(cut.feed(True)), whole.run(whole.images, forward=whole.module))


def test_bfloat16_means_the_same_kept_and_anew(backbone, split, preprocess, tmp_path):
    """Activations in bfloat16 are those that training sees, kept or not; they are not the exact ones."""
    kept = Training(backbone, split, preprocess, tmp_path / "a", dtype=torch.bfloat16)
    anew = Training(backbone, split, preprocess, tmp_path / "b", dtype=torch.bfloat16)
    exact = Training(backbone, split, preprocess, tmp_path / "c")
    one = kept.run(kept.feed(True))
    assert same(one, anew.run(anew.feed(False)))
    assert not same(one, exact.run(exact.feed(True)))


def test_fresh_draws_are_never_kept(backbone, split, preprocess, tmp_path):
    """A policy that draws afresh in every epoch leaves nothing but the images behind."""
    one = Training(backbone, split, preprocess, tmp_path, policy="trivial")
    one.run(one.feed(True), epochs=2)
    assert {entry.kind for entry in one.cache.ls()} == {"images"}


def test_evaluation_from_the_boundary_is_that_of_the_network(backbone, split, preprocess, tmp_path):
    """Probabilities from kept activations are those of the whole network."""
    one = Training(backbone, split, preprocess, tmp_path)
    one.run(one.feed(True), epochs=1)
    from_boundary = evaluate(one.module, one.feed(True), CPU, one.cut.suffix)
    assert from_boundary == pytest.approx(evaluate(one.module, one.images, CPU), abs=1e-6)


def test_another_trial_finds_what_was_kept(backbone, split, preprocess, tmp_path):
    """A second network with the same weights reads the first one's activations: its prefix never runs."""
    first = Training(backbone, split, preprocess, tmp_path)
    first.run(first.feed(True), epochs=1)
    second = Training(backbone, split, preprocess, tmp_path)
    runs = []
    second.module.low.register_forward_hook(lambda *_: runs.append(1))
    assert (
        second.boundaries.judge(second.images, second.cut, 5, keep_going=yes).reason == "activations found in the cache"
    )
    second.run(second.feed(True), epochs=1)
    assert not runs


def test_one_of_several_views_is_not_all_of_them(backbone, split, preprocess, tmp_path):
    """What is kept of one view leaves the others to be judged; with all of them kept there is nothing to judge."""
    one = Training(backbone, split, preprocess, tmp_path, policy="flip-crop", views=2)
    found = []
    for view in (0, 1):
        one.boundaries.arrays(one.images, one.cut, view, keep_going=yes)
        keeping = one.boundaries.judge(one.images, one.cut, 4, keep_going=yes)
        found.append(keeping.reason == "activations found in the cache")
    assert found == [False, True]


def test_a_deeper_boundary_is_computed_from_a_shallower_one(backbone, split, preprocess, tmp_path):
    """With the boundary beneath one block kept, the head's inputs come from there and equal the network's own."""
    one = Training(backbone, split, preprocess, tmp_path)
    one.run(one.feed(True), epochs=1)
    runs = []
    handle = one.module.low.register_forward_hook(lambda _, given, __: runs.append(len(given[0])))
    deep = one.boundaries.arrays(one.images, one.cuts.at(0), None, keep_going=yes)
    assert max(runs) <= 8, "a few images are compared and timed; the side's are not computed again"
    handle.remove()
    one.module.eval()
    with torch.no_grad():
        (inputs,) = next(iter(one.images.plain()))
        expected = one.module.top(one.module.low(inputs)).mean((2, 3))
    assert torch.allclose(deep.tensors[0][: len(expected)], expected, atol=1e-5)


@pytest.mark.parametrize(("seconds", "kept"), [(1e-3, [1, 0]), (1e-9, [0])])
def test_what_lies_on_the_way_is_kept_where_that_is_quicker(
    backbone, split, preprocess, tmp_path, monkeypatch, seconds, kept
):
    """A boundary of 2 KB an image that no trial asked for is kept if it takes a millisecond, not if it takes none."""
    monkeypatch.setattr(costs, "SMALL", 0)
    one = Training(backbone, split, preprocess, tmp_path)
    one.boundaries.rungs(one.images, 0)
    one.boundaries._rungs[0] = [dataclasses.replace(rung, seconds=seconds) for rung in one.boundaries._rungs[0]]
    assert one.boundaries.arrays(one.images, one.cuts.at(0), None, keep_going=yes) is not None
    found = [one.boundaries.find(one.images, one.cuts.at(k), None, keep_going=yes) is not None for k in (1, 0)]
    assert [k for k, there in zip((1, 0), found, strict=True) if there] == kept


@pytest.mark.parametrize("other", ["weights", "size", "images"])
def test_what_was_kept_for_something_else_is_not_used(backbone, split, preprocess, tmp_path, coloured, other):
    """Other weights, another size or other images have activations of their own."""
    first = Training(backbone, split, preprocess, tmp_path)
    first.run(first.feed(True), epochs=1)
    if other == "weights":
        changed = dataclasses.replace(backbone.weights, digest="0" * 16)
        backbone = backbone.with_weights(changed)
    elif other == "size":
        preprocess = dataclasses.replace(preprocess, img_size=24)
    else:
        split = coloured(90, seed=5)
    second = Training(backbone, split, preprocess, tmp_path)
    assert second.boundaries.find(second.images, second.cut, None, keep_going=yes) is None


@pytest.mark.parametrize("other", ["dtype", "device", "torch", "version"])
def test_what_was_kept_in_another_way_is_not_used(backbone, split, preprocess, tmp_path, monkeypatch, other):
    """Activations of another type, from another kind of device, by another torch or version are not taken for these."""
    one = Training(backbone, split, preprocess, tmp_path)
    one.run(one.feed(True), epochs=1)
    assert one.boundaries.find(one.images, one.cut, None, keep_going=yes) is not None
    if other == "dtype":
        one = Training(backbone, split, preprocess, tmp_path, dtype=torch.bfloat16)
    elif other == "device":
        monkeypatch.setattr(one.boundaries, "placement", Placement("cuda:0"))
    elif other == "torch":
        monkeypatch.setattr(torch, "__version__", "2.0.0")
    else:
        monkeypatch.setattr("autotune.vision.boundary.VERSION", 0)
    assert one.boundaries.find(one.images, one.cut, None, keep_going=yes) is None


def test_what_is_deleted_or_altered_between_epochs_is_made_anew(backbone, split, preprocess, tmp_path):
    """Activations that are deleted after one epoch and altered after the next never reach the training."""
    undisturbed = Training(backbone, split, preprocess, tmp_path / "a")
    expected = undisturbed.run(undisturbed.feed(True))
    one = Training(backbone, split, preprocess, tmp_path / "b")
    feed = one.feed(True)
    for epoch in range(3):
        train_epoch(one.trained, feed, epoch=epoch, batch_size=16, seed=3, keep_going=yes)
        folders = [path.parent for path in (tmp_path / "b").rglob("activations/*/facts.json")]
        assert folders
        for folder in folders:
            if epoch == 0:
                shutil.rmtree(folder)
            else:
                for path in folder.iterdir():
                    if path.name != "facts.json":
                        path.write_bytes(bytes(reversed(path.read_bytes())))
    assert same(one.module.state_dict(), expected)


def test_what_is_altered_within_an_epoch_is_not_trained_on(backbone, split, preprocess, tmp_path):
    """Bytes that change after a batch are noticed before the next one is read."""
    undisturbed = Training(backbone, split, preprocess, tmp_path / "a")
    expected = undisturbed.run(undisturbed.feed(True), epochs=1)
    one = Training(backbone, split, preprocess, tmp_path / "b")
    asked = 0

    def disturbing():
        nonlocal asked
        asked += 1
        if asked == 2:
            (path,) = (tmp_path / "b").rglob("activations/*/0.bin")
            path.chmod(0o600)
            path.write_bytes(bytes(reversed(path.read_bytes())))
        return True

    train_epoch(one.trained, one.feed(True), epoch=0, batch_size=16, seed=3, keep_going=disturbing)
    assert same(one.module.state_dict(), expected)


@pytest.mark.parametrize("recipe", [{}, {"policy": "trivial", "views": 2}])
def test_what_cannot_be_made_anew_is_computed_for_each_batch(backbone, split, preprocess, tmp_path, recipe):
    """Activations that go within an epoch and find no room again change no weight."""
    undisturbed = Training(backbone, split, preprocess, tmp_path / "a", **recipe)
    expected = undisturbed.run(undisturbed.feed(True), epochs=1)
    one = Training(backbone, split, preprocess, tmp_path / "b", **recipe)
    asked = 0

    def disturbing():
        nonlocal asked
        asked += 1
        if asked == 2:
            for folder in (tmp_path / "b").rglob("activations/*"):
                shutil.rmtree(folder)
            one.boundaries.arrays = lambda *_, **__: None
        return True

    train_epoch(one.trained, one.feed(True), epoch=0, batch_size=16, seed=3, keep_going=disturbing)
    assert same(one.module.state_dict(), expected)


def test_no_room_is_said_once_and_changes_nothing(backbone, split, preprocess, tmp_path, monkeypatch):
    """Where activations fit neither on disk nor in memory they are computed anew, and a note says why."""
    monkeypatch.setattr(arraybuild, "MEMORY_SHARE", 10**12)
    expected = Training(backbone, split, preprocess, tmp_path / "a")
    weights = expected.run(expected.feed(False))
    one = Training(backbone, split, preprocess, tmp_path / "b", limit=1000)
    assert same(one.run(one.feed(True)), weights)
    assert len([note for note in one.notes if "computed anew" in note]) == 1


@pytest.mark.parametrize("lacking", ["folder", "disk"])
def test_a_boundary_on_the_way_takes_no_memory(backbone, split, preprocess, tmp_path, monkeypatch, lacking):
    """What this trial does not need lies on disk or nowhere: its own boundary is kept, and no note says otherwise."""
    monkeypatch.setattr(arraybuild, "MEMORY_SHARE", arraybuild.memory_of_machine() // 100_000)
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" if lacking == "folder" else tmp_path
    one = Training(backbone, split, preprocess, folder, limit=1_000_000)
    other = torch.zeros(1000, 232)
    held = None if lacking == "folder" else one.cache.get("other", {}, 1000, lambda: iter([(other,)]), keep_going=yes)
    kept = one.boundaries.arrays(one.images, one.cuts.at(0), None, keep_going=yes)
    assert held is None or held.intact()
    assert kept.nbytes == 90 * 16 * 4
    assert one.boundaries.find(one.images, one.cut, None, keep_going=yes) is None
    assert not [note for note in one.notes if "computed anew" in note]


def test_a_boundary_on_the_way_leaves_room_for_the_one_that_is_needed(
    tower, backbone, split, preprocess, tmp_path, monkeypatch
):
    """Where the cache has room for a boundary of 1.47 MB, but not for one of 0.18 MB beside it, the first is kept."""
    build = tower.build

    def widening(classes, **options):
        network = build(classes, **options)
        network.blocks[3] = torch.nn.Conv2d(8, 64, 3, padding=1)
        network.blocks[4] = torch.nn.Conv2d(64, 8, 3, padding=1)
        return network

    monkeypatch.setattr(tower, "build", widening)
    monkeypatch.setattr(tower, "weights", backbone.weights)
    one = Training(tower, split, preprocess, tmp_path, limit=1_600_000)
    kept = one.boundaries.arrays(one.images, one.cut, None, keep_going=yes)
    assert (kept.nbytes, kept.note) == (90 * 64 * 8 * 8 * 4, None)
    assert one.boundaries.find(one.images, one.cuts.at(2), None, keep_going=yes) is None


@pytest.mark.gpu
@pytest.mark.parametrize("share", [0.0, 0.25], ids=["pinned", "resident"])
def test_on_a_gpu_rows_are_those_of_the_cache(backbone, split, preprocess, tmp_path, monkeypatch, share):
    """Read ahead into pinned memory, or kept on the GPU: the batches are the rows that lie in the cache."""
    monkeypatch.setattr("autotune.vision.residents.SHARE", share)
    placement = Placement("cuda:0")
    images = Images(split, preprocess, placement, seed=3)
    cuts = Cuts(placement.module(backbone.build(3)).eval(), backbone, img_size=preprocess.img_size, folder=None)
    cache = ArrayCache(tmp_path / "cache")
    boundaries = Boundaries(cuts, "weights", placement, cache, dtype=None, note=print)
    feed = BoundaryFeed(images, boundaries, cuts.at(1), keep=True, keep_going=yes)
    kept = boundaries.arrays(images, cuts.at(1), None, keep_going=yes)
    for (found,), part in zip(feed.plain(), torch.arange(len(images)).split(placement.eval_batch), strict=True):
        assert torch.equal(found.cpu(), kept.rows(part)[0])


def test_told_to_stop_it_trains_on_nothing(backbone, split, preprocess, tmp_path):
    """When the host says stop while activations are computed, the epoch has no batches."""
    one = Training(backbone, split, preprocess, tmp_path)
    feed = BoundaryFeed(one.images, one.boundaries, one.cut, keep=True, keep_going=lambda: False)
    assert list(feed.epoch(0, 16)) == []
