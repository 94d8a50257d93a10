"""Labels that were really made wrong, and what finds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autotune.data import Dataset
from autotune.errors import UnknownName
from autotune.indexing.dataset import Fractions, index
from autotune.inspecting.records import Finding
from autotune.inspecting.suspects import doubted, suspects
from autotune.plugins import load_plugins
from autotune.testing.tiny import MemorySource, tiny_images

WRONG = 10


def dataset(tmp_path: Path, wrong: int = WRONG, size: int = 16) -> tuple[Dataset, set[str]]:
    """Tiny images of three classes, some of them labelled as the next class, and the keys of those."""
    images, labels = tiny_images(3, 60, size=size)
    keys = range(7, 7 + 11 * wrong, 11)
    for key in keys:
        labels[key] = (labels[key] + 1) % 3
    source = MemorySource(list(images), [f"c{label}" for label in labels])
    return index(source, location="tiny:x", fractions=Fractions(), cache=tmp_path), {str(key) for key in keys}


def found(data: Dataset, **options: str) -> Finding:
    """What is doubted."""
    return suspects(data.data.task, load_plugins(), **options)


def test_wrong_labels_are_found_by_small_pixels(tmp_path: Path) -> None:
    """Nearly all of those of train and val, hardly any other, with both classes named."""
    data, wrong = dataset(tmp_path)
    task = data.data.task
    finding = found(data)
    assert finding is not None
    assert "small pixels" in finding.summary
    doubted = {case.images[0] for case in finding.cases}
    visible = wrong & {*task.train.keys, *task.val.keys}
    assert len(doubted & visible) >= 0.8 * len(visible)
    assert len(doubted - wrong) <= 2
    assert "labelled 'c" in finding.cases[0].note


def test_test_images_are_not_looked_at(tmp_path: Path) -> None:
    """They stay locked, wrong labels included."""
    data, _ = dataset(tmp_path)
    finding = found(data)
    assert finding is not None
    assert not {case.images[0] for case in finding.cases} & set(data.holdout.test.keys)


def test_right_labels_are_not_doubted(tmp_path: Path) -> None:
    """It is said that none is, and how good the probe was."""
    finding = found(dataset(tmp_path, wrong=0)[0])
    assert finding.count == 0
    assert finding.summary.startswith("0 of ")
    assert "right about" in finding.summary
    assert finding.hint is None


def test_a_backbone_can_be_named(tmp_path: Path) -> None:
    """One that there is not is an error that says so."""
    with pytest.raises(UnknownName, match="no backbone source is called 'nobody'"):
        found(dataset(tmp_path)[0], backbone="nobody/net")


def test_what_counts_as_doubt() -> None:
    """Another class must be as likely as it usually is for its own images, and much likelier than the label."""
    probabilities = np.array(
        [
            [0.9, 0.1, 0.0],  # right
            [0.8, 0.2, 0.0],  # right
            [0.1, 0.9, 0.0],  # labelled 0, looks like 1
            [0.45, 0.55, 0.0],  # labelled 0, not by enough
            [0.1, 0.9, 0.0],  # right
            [0.0, 0.0, 1.0],  # labelled 1, looks like a class of which there are no images
            [0.95, 0.05, 0.0],  # labelled 1, looks like 0
        ],
        dtype=np.float32,
    )
    rows, guesses = doubted(probabilities, np.array([0, 0, 0, 0, 1, 1, 1]))
    assert rows.tolist() == [6, 2]
    assert guesses.tolist() == [0, 1]
