"""Models: probabilities out of logits, preprocessing out of facts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from autotune import Model, Preprocess


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
