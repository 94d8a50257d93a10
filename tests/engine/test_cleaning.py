"""What a study no longer needs is removed, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

from autotune.after.finalists import finalists
from autotune.engine import run_search
from autotune.engine.attempt import trial_folder
from autotune.engine.cleaning import clean
from autotune.engine.search import read
from autotune.errors import StudyError


@pytest.fixture
def made(plan):
    """A finished study of eight trials."""
    made = plan(trials=8, epochs=4, pruner="none")
    run_search(made)
    return made


def litter(made):
    """What a loser's worker that died leaves: a checkpoint, half a file, an attempt that never began."""
    study = read(made.path, made.plugins)
    loser = min((t for t in study.trials if t.value is not None), key=lambda t: t.value)
    home = trial_folder(study.path, loser.number)
    kept = next(study.path.glob("trials/*/attempt-1/checkpoint-*.safetensors"))
    for suffix in (".safetensors", ".json"):
        shutil.copy(kept.with_suffix(suffix), home / "attempt-1" / f"checkpoint-3{suffix}")
    (home / "attempt-1" / ".checkpoint-4.safetensors.17.part").write_bytes(b"x" * 1000)
    (home / "attempt-0").mkdir()
    (home / "attempt-0" / "alive").write_text("3\n")
    old = time.time() - 7200
    for path in (home / "attempt-1" / ".checkpoint-4.safetensors.17.part", home / "attempt-0"):
        os.utime(path, (old, old))
    return home


def files(made):
    """Every path of a study."""
    return {p for p in made.path.rglob("*") if "lock" not in p.name}


def test_a_study_that_was_left_alone_has_nothing_to_remove(made):
    """The search thins out by itself; cleaning after it frees nothing."""
    before = files(made)
    found = clean(made.path)
    assert (found.removed, found.nbytes) == ((), 0)
    assert files(made) == before


def test_what_deaths_left_is_removed_and_the_best_stays(made):
    """Losers' checkpoints, halves and attempts that nobody runs go; the finalists' checkpoints stay."""
    before = files(made)
    last = [f.checkpoint for f in finalists(read(made.path, made.plugins))]
    home = litter(made)
    tried = clean(made.path, dry_run=True)
    assert files(made) > before
    found = clean(made.path)
    assert {r.path for r in found.removed} == {r.path for r in tried.removed}
    assert found.nbytes == tried.nbytes > 1000
    assert files(made) == before - {home / "attempt-0"}
    assert all(path.is_file() for path in last)
    assert [f.checkpoint for f in finalists(read(made.path, made.plugins))] == last


def test_what_is_young_may_be_somebodys(made):
    """A file that is being written, and an attempt that is about to begin, are left alone."""
    home = litter(made)
    now = time.time()
    for path in (home / "attempt-1" / ".checkpoint-4.safetensors.17.part", home / "attempt-0"):
        os.utime(path, (now, now))
    clean(made.path)
    assert (home / "attempt-0" / "alive").exists()
    assert list(home.rglob(".*.part"))


def test_a_trial_that_goes_on_keeps_its_newest_and_its_best(plan, fake_fit):
    """Of a trial that waits, earlier attempts keep the newest two checkpoints and the best; its last one keeps all."""

    def fit(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            yield epoch
            if epoch.at in (3, 5):
                raise SystemExit

    made = plan(fit, trials=1, epochs=9)
    for _ in range(2):
        with pytest.raises(SystemExit):
            run_search(plan(fit, trials=1, epochs=9))
    home = trial_folder(made.path, 0)
    names = {p.name for p in home.rglob("*.safetensors")}
    found = clean(made.path)
    assert {p.name for p in (home / "attempt-2").glob("*.safetensors")} == {
        "checkpoint-4.safetensors",
        "checkpoint-5.safetensors",
    }
    assert {r.path.parent.name for r in found.removed} <= {"attempt-1"}
    assert len(names) > len({p.name for p in home.rglob("*.safetensors")})
    trial = run_search(plan(trials=1, epochs=9)).trials[0]
    assert (trial.state, [p.at for p in trial.curve]) == ("complete", [*range(1, 10)])


def test_no_study_is_said(tmp_path):
    """A folder without a study is an error."""
    with pytest.raises(StudyError, match="there is no study"):
        clean(tmp_path)


def test_the_command_says_how_much(made, capsys):
    """``autotune clean`` says what was freed; with --dry-run what would be; or json."""
    from autotune.cli import cli

    litter(made)
    cli.main(["clean", str(made.path), "--dry-run"], standalone_mode=False)
    said = capsys.readouterr().out
    assert "checkpoints of trials that have been beaten" in said
    assert "attempts that never began" in said
    assert said.rstrip().endswith("would be freed")
    cli.main(["clean", str(made.path), "--json"], standalone_mode=False)
    record = json.loads(capsys.readouterr().out)
    assert record["nbytes"] > 1000
    assert not record["dry"]
    cli.main(["clean", str(made.path)], standalone_mode=False)
    assert capsys.readouterr().out == "0 B freed\n"
