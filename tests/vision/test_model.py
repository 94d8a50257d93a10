"""Networks as models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autotune.vision import TorchModel, evaluation_view, normalise, to_array


@pytest.fixture
def model(backbone, preprocess):
    """A small network with its classes."""
    return TorchModel(backbone.build(3), classes=("a", "b", "c"), preprocess=preprocess)


@pytest.fixture
def images(split):
    """Twelve images of one size, and two of others."""
    draw = np.random.default_rng(1)
    others = [draw.integers(0, 255, (height, width, 3), dtype=np.uint8) for height, width in ((33, 17), (8, 40))]
    return [split.image(i) for i in range(12)] + others


def test_inputs_are_what_evaluation_sees(model, images, preprocess):
    """Resized, cropped and normalised as everywhere else, one image at a time or all at once."""
    view = evaluation_view(preprocess)
    by_hand = torch.cat([normalise(view(to_array(image))[None], preprocess) for image in images])
    assert torch.equal(model.inputs(images), by_hand)


def test_predictions_do_not_depend_on_the_company(model, images):
    """Each image gets the row that it gets by itself; none gives no rows."""
    rows = model.predict(images)
    for image, row in zip(images, rows, strict=True):
        assert np.allclose(model.predict([image])[0], row, atol=1e-5)
    assert model.predict([]).shape == (0, 3)


def test_flip_is_the_mean_with_the_mirror_image(model, images):
    """It equals the mean of two predictions made by hand."""
    by_hand = (model.predict(images) + model.predict([image[:, ::-1] for image in images])) / 2
    assert np.allclose(model.predict(images, tta="flip"), by_hand, atol=1e-6)
    assert not np.allclose(by_hand, model.predict(images), atol=1e-4)


def test_crops_are_the_mean_over_middle_and_corners(model, images):
    """It equals the mean of five predictions made by hand; images of other shapes are cropped in theirs."""

    def crop(image, top, left):
        tall, wide = round(image.shape[0] * 7 / 8), round(image.shape[1] * 7 / 8)
        y, x = round((image.shape[0] - tall) * top), round((image.shape[1] - wide) * left)
        return image[y : y + tall, x : x + wide]

    places = ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1))
    by_hand = np.mean([model.predict([crop(image, *place) for image in images]) for place in places], axis=0)
    assert np.allclose(model.predict(images, tta="crops"), by_hand, atol=1e-6)


def test_the_temperature_cools_each_opinion(model, images):
    """Every variant's probabilities are cooled before they are averaged."""
    model.temperature = 4.0
    cooled = (model.predict(images) + model.predict([image[:, ::-1] for image in images])) / 2
    assert np.allclose(model.predict(images, tta="flip"), cooled, atol=1e-6)


def test_the_state_bears_the_temperature(model):
    """What is handed over says how the model was cooled."""
    model.temperature = 1.5
    assert model.state()[1]["temperature"] == 1.5
