"""Finalists, test sets and hand-overs of studies with several tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from autotune import DataError, Model, StudyError, UnknownName
from autotune.after.choosing import finalist_scores
from autotune.after.evaluation import evaluate_on_test
from autotune.data import Dataset, Image
from autotune.indexing.combining import combine
from autotune.indexing.dataset import Fractions, index
from autotune.reporting import messages
from autotune.testing import MemorySource, tiny_images


class Bright(Model):
    """Takes the brightest corner of an image for its class; knows two tasks, and answers one of them wrongly.

    Args:
        classes: Of each task.
        name: The task that it answers.
    """

    def __init__(self, classes: dict[str, tuple[str, ...]], name: str) -> None:
        self._classes = classes
        self.tasks = tuple(classes)
        self.name, self.classes = name, classes[name]

    def task(self, name: str) -> Model:
        """The same for another task."""
        return Bright(self._classes, name)

    def logits(self, images: Sequence[Image]) -> np.ndarray:
        """High for the class of the corner; for the task ``wrong`` always for the first class."""
        scores = np.zeros((len(images), len(self.classes)), np.float32)
        for row, image in zip(scores, images, strict=True):
            half = len(image) // 2
            corners = [image[top : top + half, left : left + half].mean() for top in (0, half) for left in (0, half)]
            row[0 if self.name == "wrong" else int(np.argmax(corners)) % len(row)] = 9
        return scores

    def state(self) -> tuple[dict[str, object], dict[str, object]]:
        """Nothing."""
        return {}, {}


def task_of(name: str, cache: Path, *, each: int, seed: int, test: float = 0.2) -> Dataset:
    """Three classes of generated images, on their sides."""
    images, labels = tiny_images(3, each, seed=seed)
    source = MemorySource(list(images), [f"{name}-{label}" for label in labels])
    return index(source, location=f"memory:{name}", fractions=Fractions(test=test), cache=cache, name=name)


@pytest.fixture
def dataset(tmp_path):
    """Two tasks, the first with a select side, the second without."""
    return combine([task_of("right", tmp_path, each=400, seed=1), task_of("wrong", tmp_path, each=40, seed=2)])


@pytest.fixture
def model(dataset):
    """Right about one task, mostly wrong about the other."""
    return Bright({task.name: task.classes for task in dataset.data.tasks}, "right")


def test_finalists_compare_by_the_mean_over_tasks(dataset, model):
    """Scores are there for each task and as their mean; on select only for the task that has that side."""
    select, pooled, _ = finalist_scores(model, dataset)
    assert pooled["right/accuracy"] == 1.0
    assert pooled["wrong/accuracy"] < 0.6
    assert pooled["accuracy"] == pytest.approx((pooled["right/accuracy"] + pooled["wrong/accuracy"]) / 2)
    assert select["right/accuracy"] == 1.0
    assert not [metric for metric in select if metric.startswith("wrong/") or "/" not in metric]


def test_a_single_task_has_plain_scores(tmp_path, model):
    """Without other tasks no name stands before a metric."""
    alone = task_of("right", tmp_path, each=400, seed=1)
    select, pooled, _ = finalist_scores(model, alone)
    assert select["accuracy"] == pooled["accuracy"] == 1.0
    assert not [metric for metric in (*select, *pooled) if "/" in metric]


def opened(study: Path) -> list[str]:
    """The tasks whose test sets were opened, in order."""
    return [json.loads(line)["task"] for line in (study / "ledger.jsonl").read_text().splitlines()]


def test_every_test_set_is_opened_and_recorded_by_itself(dataset, model, tmp_path):
    """All tasks are measured, each on its own test images and with its own ledger entries."""
    study = tmp_path / "study"
    where = {"study": study, "cache": tmp_path / "cache"}
    found = evaluate_on_test(model, tmp_path, dataset, **where)
    (other,) = found.others
    assert (found.task, other.task) == ("right", "wrong")
    assert (found.accuracy, found.opened, other.opened) == (1.0, 1, 1)
    assert other.accuracy < 0.6
    assert found.n == len(dataset.holdouts[0].test)
    assert other.n == len(dataset.holdouts[1].test)
    assert set(other.per_class) == set(dataset.data.tasks[1].classes)
    again = evaluate_on_test(model, tmp_path, dataset, task="wrong", **where)
    assert (again.task, again.opened, again.others) == ("wrong", 2, ())
    assert opened(study) == ["right", "wrong", "wrong"]
    said = messages.evaluation(found)
    assert said.index("right: ") < said.index("wrong: ")
    assert said.count("this test set has been opened") == 2


def test_an_unknown_task_opens_nothing(dataset, model, tmp_path):
    """A misspelt name is answered with the tasks that there are."""
    with pytest.raises(UnknownName, match="'wrang'") as caught:
        evaluate_on_test(model, tmp_path, dataset, study=tmp_path / "s", cache=tmp_path, task="wrang")
    assert "wrong" in caught.value.hint
    assert not (tmp_path / "s").exists()


def test_what_is_wrong_with_one_task_opens_no_test_set(dataset, model, tmp_path):
    """Every task is checked before the first test set is opened: images that were seen, classes, an empty side."""
    study = tmp_path / "study"
    (tmp_path / "trained_on.txt").write_text(f"{dataset.holdouts[1].test.ids[0]}\n")
    with pytest.raises(DataError, match=r"^wrong: the model in .* was trained on 1 of"):
        evaluate_on_test(model, tmp_path, dataset, study=study, cache=tmp_path / "cache")
    (tmp_path / "trained_on.txt").unlink()
    others = Bright({"right": model.classes, "wrong": ("x", "y", "z")}, "right")
    with pytest.raises(StudyError, match="are not those of wrong"):
        evaluate_on_test(others, tmp_path, dataset, study=study, cache=tmp_path / "cache")
    untested = combine(
        [task_of("right", tmp_path, each=400, seed=1), task_of("wrong", tmp_path, each=40, seed=2, test=0.0)]
    )
    with pytest.raises(DataError, match="wrong: no image is kept for the test"):
        evaluate_on_test(model, tmp_path, untested, study=study, cache=tmp_path / "cache")
    assert not study.exists()
