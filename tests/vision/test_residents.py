"""Activations on a GPU: within one budget, and given up when memory runs out."""

from __future__ import annotations

import gc

import pytest
import torch

from autotune.vision import ArrayCache, Boundaries, BoundaryFeed, Cuts, Images, Placement
from autotune.vision.residents import SHARE, Residents, has_room

CPU = Placement("cpu")


def yes():
    """Always goes on."""
    return True


def test_all_views_together_have_one_share():
    """Of 1,000 bytes four views and a side for validation, 100 bytes each, get 200: a quarter, and not three."""
    held, free = 0, 1000
    for _ in range(5):
        if has_room(100, held, free):
            held, free = held + 100, free - 100
    assert held == 200


def test_what_training_takes_leaves_less():
    """What others use of the memory is no part of the budget."""
    assert has_room(100, 0, 400)
    assert not has_room(100, 0, 399)
    assert has_room(100, 100, 700)
    assert not has_room(100, 100, 699)


def arrays(folder, rows):
    """An entry of a cache."""
    return ArrayCache(folder).get("aa", {}, len(rows), lambda: iter([(rows,)]), keep_going=yes)


def test_nothing_is_held_beside_the_cache_on_a_cpu(tmp_path):
    """A CPU reads the cache itself, and has nothing to give up."""
    notes = []
    residents = Residents(CPU, notes.append)
    assert residents.hold(arrays(tmp_path, torch.ones(10, 3))).tensors == ()
    assert not residents.give_way()
    assert notes == []


def test_what_nobody_reads_any_more_does_not_count(tmp_path):
    """The budget is of what is held now."""
    residents = Residents(CPU, print)
    residents._over = False  # as on a GPU
    held = residents.hold(arrays(tmp_path, torch.ones(10, 3)))
    assert residents.nbytes == sum(tensor.nbytes for tensor in held.tensors) == 120
    del held
    gc.collect()
    assert residents.nbytes == 0


def test_given_up_in_the_middle_of_an_epoch_the_batches_are_the_same(backbone, split, preprocess, tmp_path):
    """From the next batch on rows come from the cache; nothing is held again, and one note says so."""
    notes = []
    images, cache = Images(split, preprocess, CPU, seed=3), ArrayCache(tmp_path)
    cuts = Cuts(backbone.build(3).eval(), backbone, img_size=preprocess.img_size, folder=None)
    boundaries = Boundaries(cuts, "weights", CPU, cache, dtype=None, note=notes.append)
    feed = BoundaryFeed(images, boundaries, cuts.at(1), keep=True, keep_going=yes)
    expected = [inputs[0].clone() for inputs, _ in feed.epoch(0, 16)]
    boundaries.residents._over = False  # as on a GPU
    feed = BoundaryFeed(images, boundaries, cuts.at(1), keep=True, keep_going=yes)
    for number, ((found,), _) in enumerate(feed.epoch(0, 16)):
        assert torch.equal(found, expected[number])
        if number == 2:
            assert boundaries.residents.nbytes > 0
            assert boundaries.halving.give_way()
            assert boundaries.residents.nbytes == 0
    assert [inputs[0].shape for inputs, _ in feed.epoch(1, 16)] == [tensor.shape for tensor in expected]
    assert boundaries.residents.nbytes == 0
    assert not boundaries.residents.give_way()
    assert notes == ["memory ran out: activations are no longer held on cpu"]


@pytest.mark.gpu
def test_on_a_gpu_what_is_given_up_is_free(tmp_path):
    """Held within a share of the memory; given up, the bytes are there for others."""
    placement = Placement("cuda:0")
    kept = arrays(tmp_path, torch.ones(2**20, 16))
    before = torch.cuda.memory_allocated()
    residents = Residents(placement, print)
    held = residents.hold(kept)
    assert residents.nbytes == kept.nbytes <= SHARE * placement.free_memory
    assert torch.equal(held.tensors[0].cpu(), kept.tensors[0])
    assert residents.give_way()
    assert torch.cuda.memory_allocated() == before
    assert residents.hold(kept).tensors == ()
