"""Reading a study's folder."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from autotune.engine import is_study, run_search, snapshot
from autotune.engine.attempt import EPOCHS
from autotune.engine.recipes import TrialPlan
from autotune.engine.snapshot import Records
from autotune.engine.storage import read_journal
from autotune.errors import StudyError


def no_loader(folder, device):
    """Loads nothing."""
    raise AssertionError


def test_a_snapshot_is_what_the_search_returned(plan):
    """Reading the folder gives the same records, and writes nothing."""
    study = run_search(plan(trials=5, epochs=4))
    before = {p: p.stat().st_mtime_ns for p in study.path.rglob("*")}
    read = snapshot(study.path, no_loader)
    assert read.trials == study.trials
    assert (read.name, read.state, read.wanted, read.time) == (study.name, "done", 5, None)
    assert read.objective == study.objective
    assert read.config == study.config
    assert {p: p.stat().st_mtime_ns for p in study.path.rglob("*")} == before


def test_a_copied_folder_reads_the_same(plan, tmp_path):
    """A study's folder can be handed over: nothing in it says where it lies."""
    study = run_search(plan(trials=2, epochs=2))
    shutil.copytree(study.path, tmp_path / "elsewhere" / "study")
    assert snapshot(tmp_path / "elsewhere" / "study", no_loader).trials == study.trials


def test_the_best_model_is_read_from_its_facts(plan):
    """``best/model.json`` says trial, epoch and scores; a damaged one is an error."""
    study = run_search(plan(trials=2, epochs=2))
    assert study.best is None
    (study.path / "best").mkdir()
    facts = {"trial": 1, "at": 2.0, "metrics": {"accuracy": 0.5}, "select": {"accuracy": 0.4}}
    (study.path / "best" / "model.json").write_text(json.dumps(facts))
    best = snapshot(study.path, lambda folder, device: (folder, device)).best
    assert (best.trial.number, best.at, best.metrics, best.select) == (1, 2.0, {"accuracy": 0.5}, {"accuracy": 0.4})
    assert best.load("cuda") == (study.path / "best", "cuda")
    (study.path / "best" / "model.json").write_text("{")
    with pytest.raises(StudyError, match=r"model\.json: is damaged"):
        snapshot(study.path, no_loader)


def test_no_study_is_said(tmp_path):
    """A folder without a study is an error, not an empty study."""
    assert not is_study(tmp_path)
    with pytest.raises(StudyError, match="study"):
        snapshot(tmp_path, no_loader)


def test_a_torn_epoch_is_left_out_and_a_damaged_one_is_an_error(plan):
    """Half a last line is what a crash leaves; anything else is damage, with file and line."""
    study = run_search(plan(trials=1, epochs=3))
    path = study.path / "trials" / "00000" / "attempt-1" / EPOCHS
    whole = path.read_text()
    path.write_text(whole + '{"at": 4, "ima')
    assert snapshot(study.path, no_loader).trials == study.trials
    path.write_text(whole.replace('{"at":2', '{"at:2', 1))
    with pytest.raises(StudyError, match=r"epochs\.jsonl:3: the line is damaged"):
        snapshot(study.path, no_loader)


def test_recipes_are_readable_and_come_back(tmp_path):
    """``recipe.toml`` holds seed, epochs, weights, recipe and what was sampled; null is left out."""
    made = TrialPlan(
        trial=7,
        stage="search",
        trainer="fake",
        seed=5,
        epochs=8,
        weights="0123456789abcdef",
        recipe={"lr": 0.001, "augment": "none", "size": 96, "ema": False, "head": None},
        sampled={"lr": 0.001},
    )
    made.write(tmp_path)
    read = TrialPlan.read(tmp_path)
    assert read.recipe == {"lr": 0.001, "augment": "none", "size": 96, "ema": False}
    assert (read.trial, read.seed, read.epochs, read.weights, read.sampled) == (7, 5, 8, made.weights, made.sampled)
    text = (tmp_path / "recipe.toml").read_text()
    assert "seed = 5" in text
    assert "[recipe]\nlr = 0.001" in text
    (tmp_path / "recipe.toml").write_text(text.replace("seed =", "seed"))
    with pytest.raises(StudyError, match="damaged"):
        TrialPlan.read(tmp_path)


@pytest.mark.slow
def test_five_thousand_trials_are_read_in_seconds(plan):
    """A large study opens quickly."""
    made = plan(trials=5000, epochs=1)
    study = run_search(plan(trials=1, epochs=1))
    lines = (study.path / "journal.log").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if '"op_code":4' in line)
    trial = lines[first:]
    with (study.path / "journal.log").open("a") as journal:
        for number in range(1, 5000):
            for line in trial:
                record = json.loads(line)
                if "trial_id" in record:
                    record["trial_id"] = number
                if "number" in record.get("user_attr", {}):
                    record["user_attr"]["number"] = number
                journal.write(json.dumps(record) + "\n")
            shutil.copytree(study.path / "trials" / "00000", study.path / "trials" / f"{number:05d}")
    begin = time.monotonic()
    read = snapshot(made.path, no_loader)
    assert len(read.trials) == 5000
    assert time.monotonic() - begin < 10


def test_what_another_worker_thins_out_is_seen(plan):
    """Records of trials that have ended name no checkpoint that somebody else has removed meanwhile."""
    study = run_search(plan(trials=2, epochs=3))
    records = Records(study.path, study.objective)
    before = records.trials(read_journal(study.path))
    assert before == study.trials
    named = next(p.checkpoint for t in before for p in t.curve if p.checkpoint)
    (study.path / named).with_suffix(".json").unlink()
    after = records.trials(read_journal(study.path))
    assert named not in [p.checkpoint for t in after for p in t.curve]
    assert [t.value for t in after] == [t.value for t in before]
    records.forget([0])
    assert records.trials(read_journal(study.path)) == after
