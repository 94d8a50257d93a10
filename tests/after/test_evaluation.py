"""The test set: locked, and on record."""

from __future__ import annotations

import json
import shutil

import pytest

import autotune
from autotune.plan import reopen_data


def test_it_is_locked(folder):
    """Without unlock_test nothing is opened, and the message says why and how."""
    with pytest.raises(autotune.UsageError, match="locked") as caught:
        autotune.evaluate(folder)
    assert caught.value.hint.endswith(f"autotune evaluate {folder} --unlock-test")
    with pytest.raises(autotune.UsageError, match="locked") as caught:
        autotune.evaluate(folder, tta="flip")
    assert caught.value.hint.endswith("--unlock-test --tta flip")
    assert not (folder / "ledger.jsonl").exists()


def test_the_scores_are_those_of_the_test_images(folder):
    """Accuracy, interval and per-class accuracy agree with predicting the test images one by one."""
    found = autotune.evaluate(folder, unlock_test=True)
    test = reopen_data(folder).holdout.test
    model = autotune.load(folder)
    right = [int(model.predict([test.image(i)])[0].argmax() == test.labels[i]) for i in range(len(test))]
    assert found.split == "test"
    assert found.n == len(test)
    assert found.accuracy == pytest.approx(sum(right) / len(test))
    assert found.accuracy_interval[0] < found.accuracy < found.accuracy_interval[1]
    assert set(found.per_class) == set(model.classes)
    assert found.balanced_accuracy == pytest.approx(sum(found.per_class.values()) / 10)


def test_openings_are_counted_across_studies(folder, tmp_path):
    """Each opening is recorded with its result; a copy of the study counts on, by the machine's ledger."""
    assert autotune.evaluate(folder, unlock_test=True).opened == 1
    assert autotune.evaluate(folder, unlock_test=True).opened == 2
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0])["accuracy"] > 0.5
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "ledger.jsonl").unlink()
    assert autotune.evaluate(copy, unlock_test=True).opened == 3


def test_a_model_that_saw_test_images_is_refused(folder):
    """A model trained on some of the test images gets no score on them."""
    test = reopen_data(folder).holdout.test
    with (folder / "best" / "trained_on.txt").open("a") as file:
        file.write(f"{test.ids[0]}\n")
    with pytest.raises(autotune.DataError, match=f"trained on 1 of the {len(test)} test images"):
        autotune.evaluate(folder, unlock_test=True)
    assert not (folder / "ledger.jsonl").exists()


def test_without_a_model_nothing_is_opened(folder):
    """A study without a best model says so before the test set is touched."""
    shutil.rmtree(folder / "best")
    with pytest.raises(autotune.StudyError, match="no best model yet"):
        autotune.evaluate(folder, unlock_test=True)
    assert not (folder / "ledger.jsonl").exists()


def test_augmentation_at_test_time_is_on_record(folder):
    """With crops the scores are those of the averaged predictions, and result and ledger say how they came about."""
    found = autotune.evaluate(folder, unlock_test=True, tta="crops")
    test = reopen_data(folder).holdout.test
    predicted = autotune.load(folder).predict([test.image(i) for i in range(len(test))], "crops")
    assert found.accuracy == pytest.approx((predicted.argmax(axis=1) == test.labels).mean())
    assert found.tta == "crops"
    assert autotune.evaluate(folder, unlock_test=True).tta == "none"
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    assert [line["tta"] for line in lines] == ["crops", "none"]


def test_an_unknown_augmentation_opens_nothing(folder):
    """A misspelt augmentation is refused before the test set is touched."""
    with pytest.raises(autotune.UsageError, match="tta='crop'"):
        autotune.evaluate(folder, unlock_test=True, tta="crop")
    assert not (folder / "ledger.jsonl").exists()
