"""Where memory runs out for a batch, its images are computed in pieces that fit."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from autotune.errors import OutOfMemory
from autotune.vision import ArrayCache, Boundaries, Cuts, Halving, Images, Placement, evaluate

CPU = Placement("cpu")
MEMORY = {
    "python": MemoryError,
    "torch": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cudnn": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
}


def yes():
    """Always goes on."""
    return True


class Narrow:
    """Works on so many images at once."""

    def __init__(self, work, most, error=MemoryError):
        self.work, self.most, self.error = work, most, error
        self.sizes = []

    def __call__(self, *inputs):
        """What the work gives."""
        self.sizes.append(len(inputs[0]))
        if len(inputs[0]) > self.most:
            raise self.error()
        return self.work(*inputs)


@pytest.mark.parametrize("error", MEMORY.values(), ids=MEMORY)
def test_a_batch_is_computed_in_pieces_that_fit(error):
    """The pieces give what the whole batch would, their size is found once, and a note says so."""
    notes = []
    halving = Halving(CPU, notes.append)
    narrow = Narrow(lambda one, two: (2 * one, two + 1), 3, error)
    one, two = torch.arange(20.0).view(10, 2), torch.arange(10)
    for _ in range(2):
        found = halving(narrow, (one, two))
        assert torch.equal(found[0], 2 * one)
        assert torch.equal(found[1], two + 1)
    assert narrow.sizes == [10, 5, 3, 3, 3, 1, 3, 3, 3, 1]
    assert notes == [
        "memory ran out with 10 images at once where nothing is trained: 5 from here on",
        "memory ran out with 5 images at once where nothing is trained: 3 from here on",
    ]


def test_a_batch_that_fits_is_left_as_it_is():
    """The very tensors are worked on, an empty batch too."""
    halving = Halving(CPU)
    inputs = (torch.ones(4, 3), torch.zeros(4))
    assert halving(lambda *given: given, inputs) == inputs
    assert halving(lambda given: (given,), (torch.empty(0, 3),))[0].shape == (0, 3)


def test_what_only_saves_time_goes_first():
    """Memory that is held for speed is given up before the pieces become smaller, and asked for each time."""
    held = [1]
    narrow = Narrow(lambda given: (given,), 2)

    def give_way():
        narrow.most = 4
        return bool(held) and bool(held.pop())

    halving = Halving(CPU, give_way=give_way)
    assert len(halving(narrow, (torch.ones(8),))[0]) == 8
    assert narrow.sizes == [8, 8, 4, 4]


def test_a_single_image_without_memory_is_a_failure_with_its_kind():
    """Nothing is left to halve."""
    with pytest.raises(OutOfMemory, match="memory ran out on cpu with a single image"):
        Halving(CPU)(Narrow(lambda given: (given,), 0), (torch.ones(4),))


def test_other_errors_pass():
    """What is no lack of memory is not tried again."""
    narrow = Narrow(lambda given: (given,), 0, lambda: RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        Halving(CPU)(narrow, (torch.ones(4),))
    assert narrow.sizes == [4]


def test_evaluation_in_pieces_is_evaluation(training, hungry, backbone, split, preprocess):
    """A network that has memory for four images scores a side as it does with memory for all."""
    trained, images = training(backbone), Images(split, preprocess, CPU)
    expected = evaluate(trained.module, images, CPU)
    trained.module.low = hungry(trained.module.low, most=4)
    assert evaluate(trained.module, images, CPU) == pytest.approx(expected, abs=1e-6)


class Side:
    """A side, and the boundaries of a small network that has memory for eight images at once."""

    def __init__(self, backbone, split, preprocess, folder, most=8):
        torch.manual_seed(0)
        module = CPU.module(backbone.build(3)).eval()
        self.notes = []
        self.cuts = Cuts(module, backbone, img_size=preprocess.img_size, folder=None)
        cache = ArrayCache(folder)
        self.images = Images(split, preprocess, CPU, cache=cache)
        self.boundaries = Boundaries(self.cuts, backbone.weights.digest, CPU, cache, dtype=None, note=self.notes.append)
        self.narrow = Narrow(self.cuts.at(1).prefix, most)
        self.cut = dataclasses.replace(self.cuts.at(1), fusing=lambda: self.narrow)

    def arrays(self, cut):
        """What is kept at a cut."""
        return self.boundaries.arrays(self.images, cut, None, keep_going=yes).tensors[0]


def test_the_frozen_part_is_computed_in_pieces(backbone, split, preprocess, tmp_path):
    """What is kept, and what is computed for a batch, equals what the network gives with memory for all images."""
    whole, some = (Side(backbone, split, preprocess, tmp_path / str(most), most=most) for most in (10**9, 8))
    (batch,) = next(iter(some.images.plain()))
    expected = whole.boundaries.live(whole.cut, (batch,))[0]
    assert torch.allclose(some.boundaries.live(some.cut, (batch,))[0], expected, atol=1e-6)
    assert set(some.narrow.sizes) == {64, 32, 16, 8}
    some.boundaries.on_the_way = False
    assert torch.allclose(some.arrays(some.cut), whole.arrays(whole.cut), atol=1e-6)
    assert max(some.narrow.sizes[4:]) == 8
    assert len(some.notes) == 3


def test_the_way_from_one_boundary_to_another_is_computed_in_pieces(backbone, split, preprocess, tmp_path, monkeypatch):
    """Computed from the boundary beneath it, in pieces of eight, a deeper one is the same."""
    some = Side(backbone, split, preprocess, tmp_path, most=10**9)
    some.arrays(some.cut)
    way = Narrow(some.cuts.between(some.cuts.at(1), some.cuts.at(0)), 8)
    monkeypatch.setattr(some.cuts, "between", lambda shallow, deep: way)
    found = some.arrays(some.cuts.at(0))
    (batch,) = next(iter(some.images.plain()))
    assert torch.allclose(found[:64], some.cuts.at(0).prefix(batch)[0], atol=1e-6)
    assert set(way.sizes) >= {64, 8}
