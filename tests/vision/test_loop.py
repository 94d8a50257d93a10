from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
import torch

from autotune.errors import Diverged, OutOfMemory
from autotune.plugins import load_plugins
from autotune.vision import (
    ArrayCache,
    Boundaries,
    BoundaryFeed,
    Cuts,
    Images,
    Placement,
    averaged,
    capture,
    evaluate,
    restore,
    score,
    train_epoch,
)


def run(trained, images, epochs, keep_going=lambda: True):
    """Trains some epochs; returns the images seen in each."""
    return [train_epoch(trained, images, epoch=e, batch_size=16, seed=1, keep_going=keep_going) for e in epochs]


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_training_learns(training, backbone, split, preprocess, opt):
    """Eight epochs on coloured images lift the averaged weights far above chance."""
    trained = training(backbone, opt=opt, lr=0.05 if opt == "sgd" else 0.01)
    images = Images(split, preprocess, Placement("cpu"), seed=1)
    assert run(trained, images, range(8)) == [90] * 8
    with trained.average.applied():
        assert score(evaluate(trained.module, images, Placement("cpu")), split.labels)["accuracy"] > 0.8


@pytest.mark.parametrize(
    "mix",
    [
        {},
        {"mixup": 0.3},
        {"cutmix": 1.0},
        {"mixup": 0.3, "cutmix": 1.0},
        {"kind": "cosine", "l1": 0.1},
        {"kind": "onecycle", "l2_sp": 0.5},
    ],
)
@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_a_restored_training_goes_on_bit_for_bit(training, backbone, split, preprocess, opt, mix):
    """Two epochs, saved and restored into a new network, then two more, equal four without a break."""
    images = Images(split, preprocess, Placement("cpu"), seed=1)
    whole = training(backbone, opt=opt, **mix)
    run(whole, images, range(4))
    first = training(backbone, opt=opt, **mix)
    run(first, images, range(2))
    saved = {n: t.clone() for n, t in capture(first).items()}
    second = training(backbone, opt=opt, **mix)
    restore(second, saved)
    second.steps = second.average.steps = first.steps
    torch.manual_seed(123)
    run(second, images, range(2, 4))
    one, two = capture(whole), capture(second)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[n], two[n]) for n in one)


def test_the_averaged_state_is_what_evaluation_saw(training, backbone, split, preprocess):
    """A network that loads the averaged tensors gives the probabilities that the training reported."""
    images = Images(split, preprocess, Placement("cpu"), seed=1)
    trained = training(backbone, unfreeze=1)
    run(trained, images, range(2))
    with trained.average.applied():
        expected = evaluate(trained.module, images, Placement("cpu"))
    fresh = Placement("cpu").module(backbone.build(3))
    fresh.load_state_dict(averaged(capture(trained)), strict=False)
    assert (evaluate(fresh, images, Placement("cpu")) == expected).all()


def test_stopping_within_an_epoch(training, backbone, split, preprocess):
    """An epoch that is told to stop after two batches has seen their thirty images."""
    answers = iter([True, False])
    images = Images(split, preprocess, Placement("cpu"))
    assert run(training(backbone), images, [0], lambda: next(answers)) == [30]


def test_a_loss_that_explodes_is_called_diverged(training, backbone, split, preprocess):
    """An absurd rate ends in Diverged, which names epoch and rates, and not in a score."""
    trained = training(backbone, lr=1e30, opt="sgd")
    with pytest.raises(Diverged, match=r"the loss became .* in epoch 1.*1e\+30"):
        run(trained, Images(split, preprocess, Placement("cpu")), range(3))


def test_out_of_memory_halves_the_micro_batches_until_they_fit_and_says_so(
    training, hungry, backbone, split, preprocess
):
    """A batch that is too large is computed in parts from then on; the epoch is whole."""
    notes = []
    trained = training(backbone, notes=notes)
    trained.module.low = hungry(trained.module.low, most=4)
    images = Images(split, preprocess, Placement("cpu"))
    assert run(trained, images, [0]) == [90]
    assert trained.micro == 4
    assert notes == [
        "memory ran out with batches of 15 images: micro-batches of 8 from here on",
        "memory ran out with batches of 8 images: micro-batches of 4 from here on",
    ]


def test_out_of_memory_takes_first_what_only_saves_time(training, hungry, backbone, split, preprocess):
    """What is held for speed goes before the micro-batches shrink; with that alone, batches stay whole."""
    for enough, micro in ((15, None), (8, 8)):
        trained = training(backbone)
        trained.module.low = hungry(trained.module.low, most=4)
        answers = [False, True]

        def give_way(low=trained.module.low, enough=enough, answers=answers):
            low.most = enough
            return answers.pop()

        trained.give_way = give_way
        assert run(trained, Images(split, preprocess, Placement("cpu")), [0]) == [90]
        assert trained.micro == micro


def test_memory_for_no_image_is_a_failure_with_its_kind(training, hungry, backbone, split, preprocess):
    """Where not even one image fits, the training ends in OutOfMemory."""
    trained = training(backbone)
    trained.module.low = hungry(trained.module.low, most=0)
    with pytest.raises(OutOfMemory, match="with a single image") as caught:
        run(trained, Images(split, preprocess, Placement("cpu")), [0])
    assert caught.value.kind == "oom"


def test_halved_batches_have_the_gradients_of_whole_ones(training, backbone):
    """Without BatchNorm in training mode, micro-batches add up to the whole batch's gradients."""
    from autotune.vision.loop import _gradients

    inputs, targets = torch.randn(10, 3, 16, 16), torch.randint(0, 3, (10,))
    grads = []
    for micro in (None, 4):
        trained = training(backbone)
        trained.module.eval()
        trained.micro = micro
        _gradients(trained, (inputs,), targets)
        grads.append([p.grad.clone() for p in trained.module.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("kind", [None, "cosine"])
def test_the_optimiser_has_the_rate_of_its_step(training, backbone, split, preprocess, kind):
    """After an epoch every group's rate is its peak times the factor of the last step that was taken."""
    trained = training(backbone, kind=kind)
    run(trained, Images(split, preprocess, Placement("cpu"), seed=1), [0, 1])
    expected = 1.0 if trained.schedule is None else trained.schedule(11)
    assert trained.steps == 12
    for group in trained.optimizer.param_groups:
        assert group["lr"] == pytest.approx(group["peak"] * expected)


def test_probabilities_of_one_are_labels(training, backbone, split, preprocess):
    """Trained on labels written as probabilities, a network ends in the weights that the labels give."""
    found = []
    for soft in (None, np.eye(3, dtype=np.float32)[split.labels]):
        trained = training(backbone, opt="sgd")
        run(trained, Images(split, preprocess, Placement("cpu"), seed=1, soft=soft), range(2))
        found.append({n: t.clone() for n, t in trained.module.state_dict().items()})
    assert all(torch.allclose(found[0][n], found[1][n], rtol=0, atol=1e-5) for n in found[0])


def test_probabilities_are_learned_and_not_the_labels(training, backbone, split, preprocess):
    """Where the probabilities say the next class, that is what the network learns to say."""
    soft = np.full((len(split), 3), 0.1, np.float32)
    soft[np.arange(len(split)), (split.labels + 1) % 3] = 0.8
    trained = training(backbone)
    images = Images(split, preprocess, Placement("cpu"), seed=1, soft=soft)
    assert next(iter(images.epoch(0, 16)))[1].dtype == torch.float32
    run(trained, images, range(8))
    said = evaluate(trained.module, images, Placement("cpu"))
    assert (said.argmax(1) == (split.labels + 1) % 3).mean() > 0.8
    assert said.max(1).mean() < 0.9


def waits(trained, feed, batch_size):
    """The places in which an epoch waits for the GPU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            train_epoch(trained, feed, epoch=0, batch_size=batch_size, seed=1, keep_going=lambda: True)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [f"{one.filename}:{one.lineno}" for one in caught if "synchronizing CUDA" in str(one.message)]


@pytest.mark.gpu
@pytest.mark.parametrize("policy", ["none", "flip-crop", "trivial", "heavy", "augmix"])
@pytest.mark.parametrize("how", [{}, {"mixup": 0.3, "cutmix": 1.0}, {"opt": "sgd", "kind": "cosine", "l2_sp": 0.5}])
def test_no_step_waits_for_a_gpu(training, backbone, split, preprocess, policy, how):
    """An epoch of many steps makes the GPU be waited for as often as one of few: the steps themselves never do."""
    placement = Placement("cuda:0")
    trained = training(backbone, device="cuda:0", **how)
    images = Images(split, preprocess, placement, seed=1, policy=load_plugins().augmentations[policy])

    waits(trained, images, 16)
    assert Counter(waits(trained, images, 3)) == Counter(waits(trained, images, 15))


@pytest.mark.gpu
@pytest.mark.parametrize("share", [0.0, 0.25], ids=["pinned", "resident"])
def test_no_step_from_kept_activations_waits_for_a_gpu(
    training, backbone, split, preprocess, tmp_path, monkeypatch, share
):
    """Read ahead into pinned memory, or kept on the GPU: an epoch of many steps waits as often as one of few."""
    monkeypatch.setattr("autotune.vision.boundary.GPU_SHARE", share)
    placement = Placement("cuda:0")
    trained = training(backbone, unfreeze=1, device="cuda:0")
    images = Images(split, preprocess, placement, seed=1)
    cuts = Cuts(trained.module, backbone, img_size=preprocess.img_size, folder=None)
    cut = cuts.at(1)
    boundaries = Boundaries(cuts, "weights", placement, ArrayCache(tmp_path), dtype=None, note=print)
    feed = BoundaryFeed(images, boundaries, cut, keep=True, keep_going=lambda: True)
    trained.forward = cut.suffix
    waits(trained, feed, 16)
    assert Counter(waits(trained, feed, 3)) == Counter(waits(trained, feed, 15))
