"""``autotune search``: what it prints, what it leaves, and what it does when called again."""

from __future__ import annotations

from pathlib import Path

import autotune
from autotune.testing import tiny_folder

TOY = ("trainer=toy", "epochs=3")


def test_what_a_search_prints(call):
    """What was found, that the test set is locked, what was chosen, the winner, how to repeat it, what is next."""
    said = call("search", "digits", *TOY, "--trials", "2", "--name", "mine")
    assert said.code == 0, said.err
    for text in ("1,797 images of 10 classes", "test is locked", "study: runs/mine, 2 trials", "best: trial",
                 "optimistic", "recipe=runs/mine/trials/", "autotune predict runs/mine", "--unlock-test"):  # fmt: skip
        assert text in said.out
    assert "trial 0 of 2, epoch 3, accuracy" in said.err
    assert "images/s" in said.err
    assert {p.name for p in Path("runs/mine").iterdir()} >= {"study.toml", "report.md", "trials.csv", "best", "trials"}
    assert {p.name for p in Path("runs/mine/best").iterdir()} == {
        "model.safetensors", "model.json", "README.md", "trained_on.txt"
    }  # fmt: skip


def test_a_done_study_is_left_alone(call, folder):
    """The same totals again train nothing, change no file of the study, and say so."""
    files = {p: p.stat().st_mtime_ns for p in Path(folder).rglob("*") if p.is_file()}
    said = call("search", "digits", "trainer=toy", "epochs=4", "--trials", "4")
    assert said.code == 0, said.err
    assert "nothing was trained" in said.out
    changed = {p.name for p, at in files.items() if p.stat().st_mtime_ns != at}
    assert changed <= {"study.toml", "lock"}
    assert call("search", folder, "--json").json["went_on"] is False


def test_a_larger_total_goes_on(call, folder):
    """More trials extend the study, by its folder or by its study.toml."""
    said = call("search", f"{folder}/study.toml", "trials=5", "--json", "--quiet")
    assert said.code == 0, said.err
    assert said.json["went_on"] is True
    assert said.json["trials"]["total"] == 5
    assert call("search", folder, "--trials", "6", "--json").json["trials"]["total"] == 6


def test_the_winner_can_be_repeated(call, folder):
    """The command that is printed trains the same recipe in a study of its own, with the same score."""
    best = call("best", folder, "--json").json
    line = next(text for text in call("best", folder).out.splitlines() if "recipe=" in text)
    said = call(*line.split()[1:], "--json", "--quiet")
    assert said.code == 0, said.err
    assert said.json["path"] == "runs/digits-again"
    assert said.json["best"]["trial"]["value"] == best["trial"]["value"]


def test_a_metric_is_an_option(call):
    """``--metric`` is the key metric; one that nobody knows is refused, and near names are told."""
    said = call("search", "digits", *TOY, "--trials", "1", "--metric", "macro_f1", "--json", "--quiet")
    assert said.code == 0, said.err
    assert said.json["metric"] == "macro_f1"
    wrong = call("search", "digits", *TOY, "--metric", "macro_f")
    assert wrong.code == 2
    assert "did you mean 'macro_f1'" in wrong.err


def test_a_drafted_study_runs(call):
    """``init`` then ``search study.toml key=value`` is a whole search."""
    tiny_folder(Path("images"))
    call("init", "images", *TOY)
    said = call("search", "study.toml", "trials=2", "space.lr.high=0.5", "--quiet")
    assert said.code == 0, said.err
    assert "runs/images/report.md" in said.out


def test_json_is_all_that_stands_on_standard_output(call):
    """With --json the study's record is printed; what goes on is told on standard error."""
    said = call("search", "digits", *TOY, "--trials", "1", "--json")
    assert said.json["state"] == "done"
    assert said.json["best"]["trial"]["number"] == 0
    assert "trial 0" in said.err


def test_data_may_be_a_key(call):
    """``data=`` stands for DATA, and without either it is digits."""
    tiny_folder(Path("images"))
    assert call("search", "data=images", *TOY, "--trials", "1", "--quiet").code == 0
    assert Path("runs/images").is_dir()
    assert call("search", *TOY, "--trials", "1", "--quiet").code == 0
    assert Path("runs/digits").is_dir()


def test_another_study_in_the_folder_is_refused(call, folder):
    """A name that is taken by another study is refused, and that study is left as it is."""
    before = Path(folder, "study.toml").read_text()
    said = call("search", "digits", "trainer=toy", "epochs=4", "seed=7", "--trials", "4")
    assert said.code == 5
    assert "another study" in said.err
    assert Path(folder, "study.toml").read_text() == before


def test_a_study_where_every_trial_fails(call):
    """When no trial succeeds the reasons are told, a report is there, and the exit code is not 0."""
    said = call("search", "digits", *TOY, "fixed.lr=1e30", "fixed.opt=sgd", "--trials", "2", "--quiet")
    assert said.code != 0
    assert "diverged" in said.err or "failed" in said.err


def test_learning_from_past_studies(call):
    """Earlier studies are named with their weights, and their best recipes come after the first one."""
    tiny_folder(Path("images"))
    tiny_folder(Path("more"), seed=1)
    assert call("search", "images", *TOY, "pruner=none", "seed=5", "--trials", "4", "--quiet").code == 0
    before = {t.recipe["lr"] for t in autotune.open("runs/images").trials}
    said = call("search", "more", *TOY, "--trials", "3", "--learn-from", "runs")
    assert said.code == 0, said.err
    assert "learns from runs/images, as far as they relate to this study" in said.out
    assert "past study runs/images: weight 0.9" in said.err or "past study runs/images: weight 1.00" in said.err
    study = autotune.open("runs/more")
    assert len(study.trials) == 3
    assert {t.recipe["lr"] for t in study.trials} <= before
    assert call("search", "more", *TOY, "--trials", "3", "--learn-from", "runs", "--quiet").code == 0
    assert call("show", "images", *TOY, "--learn-from", "runs", "--name", "x").code == 0


def test_a_place_without_finished_studies(call):
    """Nothing to learn from is an error with a remedy, and no study begins."""
    tiny_folder(Path("images"))
    for place, told in (("nowhere", "there is no such folder"), ("images", "holds no finished study")):
        said = call("search", "images", *TOY, "--trials", "1", "--learn-from", place)
        assert said.code == 5
        assert told in said.err
    assert not Path("runs").exists()
