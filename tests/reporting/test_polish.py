"""What a report says of the model after its training."""

from __future__ import annotations

import dataclasses
import json

from autotune.reporting.messages import best
from autotune.reporting.polish import after_training, teacher

STEP = {
    "step": "temperature", "kept": True, "what": "temperature 1.250", "metric": "log_loss", "before": 0.5,
    "after": 0.25, "images": 90, "side": "select",
}  # fmt: skip


def with_steps(study, *steps):
    """The study with other steps on record."""
    return dataclasses.replace(study, best=dataclasses.replace(study.best, after_training=steps))


def test_every_step_has_its_row(study):
    """Kept or not, measured or not, each step is told with its figures."""
    skipped = {**STEP, "step": "soup", "kept": False, "what": "not tried: x", "metric": None, "before": None,
               "after": None, "images": 0, "side": None}  # fmt: skip
    text = after_training(with_steps(study, skipped, STEP))
    assert "| soup | not tried: x | - | - | - | - | no |" in text
    assert "| temperature | temperature 1.250 | log_loss | 0.5 | 0.25 | 90 of select | yes |" in text


def test_without_steps_there_is_nothing_to_say(study, mixed):
    """A model that was handed over before, and a study without one, have no such part."""
    assert after_training(with_steps(study)) == ""
    assert after_training(mixed) == ""
    assert teacher(mixed) == ""
    assert teacher(study) == ""


def test_what_was_kept_is_told_with_the_best(study):
    """The command names the steps that were kept, and no others."""
    left = {**STEP, "step": "soup", "kept": False, "what": "the mean of a and b"}
    found = with_steps(study, left, STEP)
    text = best(found, found.best)
    assert "temperature: temperature 1.250; log_loss 0.5000 -> 0.2500 on 90 select images: kept" in text
    assert "the mean of a and b" not in text


def test_a_taught_model_stands_beside_its_teacher(study):
    """All three on the same images: the teacher's model, its trials together, and what learnt from them."""
    facts = {
        "teacher": "runs/first", "reason": "teacher runs/first: half of it", "trials": [3, 1], "side": "select",
        "images": 90, "scores": {"accuracy": 0.875}, "best": {"accuracy": 0.75},
    }  # fmt: skip
    (study.path / "teacher.json").write_text(json.dumps(facts))
    text = teacher(study)
    assert "`runs/first` taught this study: half of it." in text
    assert "| model | accuracy on 90 select images |" in text
    assert "| the teacher's best model | 0.75 |" in text
    assert "| 2 of the teacher's trials together, which were asked | 0.875 |" in text
    assert f"| the best model here, which learnt from that | {study.best.select['accuracy']:.4g} |" in text
    facts["side"], facts["trials"] = "val", [3]
    (study.path / "teacher.json").write_text(json.dumps(facts))
    text = teacher(study)
    assert "on 90 val images" in text
    assert "| the teacher's trial 3, which was asked | 0.875 |" in text
    assert f"| the best model here, which learnt from that | {study.best.metrics['accuracy']:.4g} |" in text
