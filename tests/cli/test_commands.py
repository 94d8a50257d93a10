"""Every command, on a finished study: what it prints, for people and as json."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import autotune
from autotune.model import AVERAGINGS

TRIAL = {"number", "state", "value", "recipe", "sampled", "metrics", "curve", "failure", "reason", "seconds", "epochs"}


def test_status(call, folder):
    """State, trials by state, time, best so far."""
    said = call("status", folder)
    assert said.code == 0
    assert "digits: done" in said.out
    assert "of 4" in said.out
    record = call("status", folder, "--json").json
    assert record["state"] == "done"
    assert record["trials"]["total"] == record["trials"]["wanted"] == 4
    assert record["leader"]["value"] == record["best"]["trial"]["value"] or record["best"]["select"]
    assert record["running"] == []


def test_trials(call, folder):
    """A line a trial; as json each has number, state, value, recipe and the rest."""
    lines = call("trials", folder).out.splitlines()
    assert len(lines) == 5
    assert lines[0].split()[:3] == ["trial", "state", "accuracy"]
    trials = call("trials", folder, "--json").json
    assert [t["number"] for t in trials] == [0, 1, 2, 3]
    assert all(t.keys() >= TRIAL for t in trials)
    assert {t["state"] for t in trials} <= {"complete", "pruned", "failed", "running"}
    assert trials[0]["recipe"]["lr"] > 0


def test_trials_sorted_and_filtered(call, folder):
    """``--sort value`` begins with the best, ``--state`` keeps one state."""
    values = [t["value"] for t in call("trials", folder, "--sort", "value", "--json").json]
    assert values == sorted(values, reverse=True)
    kept = call("trials", folder, "--state", "complete", "--json").json
    assert kept
    assert all(t["state"] == "complete" for t in kept)
    assert call("trials", folder, "--state", "failed", "--json").json == []


def test_best(call, folder):
    """Where the model lies, its optimistic score, and the command that trains it again."""
    said = call("best", folder).out
    assert "runs/digits/best" in said
    assert "optimistic" in said
    assert "recipe=runs/digits/trials/" in said
    record = call("best", folder, "--json").json
    assert record["trial"].keys() >= TRIAL
    assert record["metrics"]["accuracy"] > 0.8


def test_report(call, folder):
    """``report`` writes report.md and trials.csv anew and names the first."""
    for name in ("report.md", "trials.csv"):
        Path(folder, name).unlink()
    assert call("report", folder).out.strip() == "runs/digits/report.md"
    assert Path(folder, "report.md").read_text().startswith("# Study digits")
    assert call("report", folder, "--json").json["trials"] == "runs/digits/trials.csv"


def test_predict(call, folder, tmp_path):
    """One line an image: path, class, probability; a bad image is one error line, and the exit code says so."""
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "in" / name)
    said = call("predict", folder, "in")
    assert said.code == 0
    path, label, share = said.out.splitlines()[0].split("\t")
    assert (path, label in "0123456789") == ("in/a.png", True)
    assert 0 < float(share) <= 1
    Path("in/a.png").write_text("broken")
    said = call("predict", f"{folder}/best", "in", "--top", "2", "--json")
    assert said.code == 3
    first, second = said.out.splitlines()
    assert '"problem": "in/a.png' in first
    assert '"problem": null' in second
    said = call("predict", folder, "in")
    assert said.err.count("a.png") == 1
    assert "b.png" in said.out


def test_evaluate(call, folder):
    """Locked without the option; with it, scores, interval and how often the set was opened."""
    said = call("evaluate", folder)
    assert said.code == 2
    assert "--unlock-test" in said.err
    said = call("evaluate", folder, "--unlock-test")
    assert "95 % interval" in said.out
    assert "opened once" in said.out
    record = call("evaluate", folder, "--unlock-test", "--json").json
    assert record["split"] == "test"
    assert record["opened"] == 2
    assert record["accuracy_interval"][0] < record["accuracy"] < record["accuracy_interval"][1]
    assert record["n"] > 200
    assert "2 times" not in call("status", folder).out


def test_averaged_predictions(call, folder, tmp_path):
    """``--tta`` of predict and evaluate takes every way to average, and says which it was; others are refused."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    for tta in AVERAGINGS:
        assert call("predict", folder, "a.png", "--tta", tta).code == 0
        assert call("evaluate", folder, "--unlock-test", "--tta", tta, "--json").json["tta"] == tta
    assert "test-time augmentation flip" in call("evaluate", folder, "--unlock-test", "--tta", "flip").out
    said = call("predict", folder, "a.png", "--tta", "rotate")
    assert said.code == 2
    assert "rotate" in said.err


def test_show(call, folder):
    """The resolved plan of a search that was not begun, and of a study; nothing is written."""
    said = call("show", "digits", "trainer=toy", "space.lr.high=0.5", "fixed.size=4", "--trials", "3", "--name", "new")
    assert said.code == 0
    assert "1,797 images of 10 classes" in said.out
    assert "locked" in said.out
    assert "0.001 .. 0.5, log" in said.out
    assert not Path("runs/new").exists()
    record = call("show", folder, "--json").json
    assert record["path"] == "runs/digits"
    assert record["config"]["trials"] == 4
    assert record["space"]["lr"]["kind"] == "float"


def test_init(call):
    """``init`` writes a study.toml that is read back, comments and all, and is not overwritten by accident."""
    assert call("init", "digits", "trainer=toy", "time=20s", "space.lr.high=0.5").code == 0
    text = Path("study.toml").read_text()
    table = tomllib.loads(text)
    assert table["data"] == "digits"
    assert table["time"] == 20
    assert table["space"]["lr"] == {"high": 0.5}
    assert '# opt = { values = ["sgd", "nesterov"] }' in text
    said = call("init", "digits")
    assert said.code == 2
    assert "--force" in said.err
    assert call("init", "digits", "--force", "-o", "study.toml").code == 0
    assert call("init", "nowhere", "-o", "x.toml").code == 3


def test_what_init_comments_out_can_be_commented_in(call):
    """Without the marks every line of the draft is a key that a study knows."""
    call("init", "digits", "trainer=toy")
    lines = Path("study.toml").read_text().splitlines()
    keys = [line.removeprefix("# ") if re.match(r"# \w+ = ", line) else line for line in lines]
    keys = [
        line for line in keys if not line.startswith(("backbones", "learn_from", "recipe", "teacher", "trial_seed"))
    ]
    Path("study.toml").write_text("\n".join(keys))
    said = call("show", "study.toml")
    assert said.code == 0, said.err


def test_plugins(call):
    """Every plugin with its distribution and what it offers."""
    assert "toy" in call("plugins").out
    toy = next(p for p in call("plugins", "--json").json if p["name"] == "toy")
    assert toy["distribution"] == "autotune-vision"
    assert toy["version"] == autotune.__version__
    assert toy["offers"]["trainers"] == ["toy"]
    assert toy["problem"] is None


def test_backbones(call):
    """Names by pattern; with a range of parameters, blocks or cost the facts too."""
    names = call("backbones", "test_resnet").out.split()
    assert "timm/test_resnet" in names
    found = call("backbones", "timm/test_resnet*", "--params", "0.1..1", "--json").json
    assert "timm/test_resnet" in {f["name"] for f in found}
    assert all(1e5 <= f["params"] <= 1e6 and f["blocks"] > 0 for f in found)
    assert call("backbones", "timm/test_resnet", "--blocks", "1", "--json").json == []
    assert "params (M)" in call("backbones", "timm/test_resnet", "--long").out
    assert call("backbones", "resnet18x").code == 2
    assert call("backbones", "test_resnet", "--params", "few").code == 2


def test_new_plugin(call):
    """``new plugin`` writes a distribution and says what to do with it."""
    said = call("new", "plugin", "acme")
    assert said.code == 0
    assert Path("autotune-acme/pyproject.toml").is_file()
    assert "pip install" in said.out


@pytest.mark.parametrize("command", ["status", "trials", "best", "report", "evaluate"])
def test_a_folder_that_is_no_study(call, command):
    """Every command that asks about a study says what is wrong with the folder."""
    Path("empty").mkdir()
    for place, message in (("empty", "no study"), ("nowhere", "no such folder")):
        said = call(command, place)
        assert said.code == 5
        assert message in said.err
