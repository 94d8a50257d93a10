"""Models: probabilities out of logits, preprocessing out of facts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from autotune import Model, Preprocess, UsageError
from autotune.model import AVERAGINGS, softmax, variants


class Fixed(Model):
    """A model that answers with the logits it was given."""

    def __init__(self, scores: np.ndarray, temperature: float = 1.0) -> None:
        self.classes = tuple("abcdefgh"[: scores.shape[1]])
        self.scores = scores
        self.temperature = temperature

    def logits(self, images):
        """The scores, as many as there are images."""
        return self.scores[: len(images)]

    def state(self):
        """The scores."""
        return {"scores": self.scores}, {}


@given(hnp.arrays(np.float32, (5, 4), elements=st.floats(-1e4, 1e4, width=32)), st.floats(0.05, 20))
def test_rows_are_probabilities(scores, temperature):
    """Every row lies between 0 and 1 and sums to 1, whatever the logits, and keeps their order."""
    rows = Fixed(scores, temperature).predict([None] * 5)
    assert rows.dtype == np.float32
    assert rows.shape == (5, 4)
    assert ((rows >= 0) & (rows <= 1)).all()
    assert np.allclose(rows.sum(axis=1), 1, atol=1e-5)
    assert (rows[np.arange(5), scores.argmax(axis=1)] == rows.max(axis=1)).all()


def test_temperature_softens():
    """A higher temperature moves probabilities towards each other; 1 is the plain softmax."""
    scores = np.array([[2.0, 0.0]], np.float32)
    plain, soft = Fixed(scores).predict([None]), Fixed(scores, 4.0).predict([None])
    assert plain[0, 0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert 0.5 < soft[0, 0] < plain[0, 0]


def test_preprocessing_survives_json():
    """Preprocessing goes through a checkpoint's facts and back."""
    preprocess = Preprocess(
        img_size=96, crop_pct=0.9, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), interpolation="bicubic"
    )
    assert Preprocess.from_facts(json.loads(json.dumps(preprocess.to_facts()))) == preprocess


class Corners(Model):
    """A model whose logits are the four corner pixels' red, as much as it sees of an image."""

    classes = ("a", "b", "c", "d")

    def logits(self, images):
        """Red at the corners, a hundredth of it."""
        return np.array([[i[0, 0, 0], i[0, -1, 0], i[-1, 0, 0], i[-1, -1, 0]] for i in images], np.float32) / 100

    def state(self):
        """Nothing."""
        return {}, {}


@pytest.fixture
def images():
    """Images of two shapes."""
    draw = np.random.default_rng(0)
    return [draw.integers(0, 255, (*shape, 3), dtype=np.uint8) for shape in ((16, 24), (9, 8))]


def test_without_augmentation_nothing_changes(images):
    """The default is what it always was: the softmax of the logits for the images as they are."""
    model = Corners()
    assert np.array_equal(model.predict(images), softmax(model.logits(images)))
    assert np.array_equal(model.predict(images, tta="none"), model.predict(images))


def test_augmentation_at_test_time_is_a_mean_of_probabilities(images):
    """Flip equals the mean over two predictions made by hand, crops that over five."""
    model = Corners()
    mirrored = [image[:, ::-1] for image in images]
    assert np.allclose(model.predict(images, "flip"), (model.predict(images) + model.predict(mirrored)) / 2, atol=1e-6)
    image = images[0]  # 16 x 24: crops are 14 x 21
    crops = [image[1:15, 2:23], image[:14, :21], image[:14, 3:], image[2:, :21], image[2:, 3:]]
    by_hand = np.mean([model.predict([crop]) for crop in crops], axis=0)
    assert np.allclose(model.predict([image], "crops"), by_hand, atol=1e-6)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(AVERAGINGS))
def test_variants_are_parts_of_the_image(height, width, tta):
    """Every variant is a contiguous image that shows at least seven eighths, to the pixel, of either side."""
    image = np.arange(height * width * 3, dtype=np.int64).reshape(height, width, 3).astype(np.uint8)
    seen = [variant(image) for variant in variants(tta)]
    assert len(seen) == {"none": 1, "flip": 2, "crops": 5}[tta]
    for variant in seen:
        assert variant.flags.c_contiguous
        assert variant.dtype == np.uint8
        assert variant.shape[0] >= max(1, 7 * height // 8)
        assert variant.shape[1] >= max(1, 7 * width // 8)


def test_an_unknown_augmentation_is_refused():
    """The ways that there are, are named."""
    with pytest.raises(UsageError, match="tta='flop'") as caught:
        Corners().predict([], "flop")
    assert "'flip'" in caught.value.hint
