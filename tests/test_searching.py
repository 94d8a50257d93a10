"""From words to a plan: which study is meant, and where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

import autotune
from autotune.errors import AutotuneError, StudyError, UsageError
from autotune.searching import conduct, prepare, read_request, study_file


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A finished study in runs/x of the current folder."""
    monkeypatch.chdir(tmp_path)
    return autotune.search("digits", trainer="toy", epochs=1, trials=1, name="x")


def test_a_path_names_data_a_file_or_a_study(study, tmp_path):
    """A .toml file is a study file, a folder with a study.toml a study, all else data."""
    assert study_file(Path("other.toml")) == Path("other.toml")
    assert study_file(study.path) == study.path / "study.toml"
    assert study_file(tmp_path) is None
    assert study_file(Path("digits")) is None


def test_a_study_goes_on_where_it_lies(study, tmp_path, monkeypatch):
    """A study's file means the study in that folder, wherever one stands; another name is another study in runs/."""
    assert read_request("runs/x", [])[1] == Path("runs")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert prepare("../runs/x/study.toml").path == tmp_path / "runs" / "x"
    assert prepare("../runs/x/study.toml", ["name=y"]).path == Path("runs/y")
    monkeypatch.chdir(study.path if study.path.is_absolute() else tmp_path / study.path)
    assert prepare("study.toml").path == tmp_path / "runs" / "x"


def test_a_copied_study_file_begins_a_study(study, tmp_path):
    """A study.toml that was copied elsewhere is a recipe for a study, not the study itself."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.toml").write_bytes((study.path / "study.toml").read_bytes())
    assert read_request("mine/study.toml", [])[1] == Path("runs")


def test_the_default_is_digits():
    """Without DATA and without data= the data is digits."""
    assert read_request(None, ["trainer=toy"])[0].data == "digits"
    assert read_request(None, ["data=images"])[0].data == "images"
    assert read_request("images", [])[0].data == "images"


def test_several_places_are_several_tasks(study):
    """The places go into the study as they are named; a study among them is refused."""
    config, _ = read_request(["cats", Path("dogs")], ["trainer=multitask"])
    assert config.data == ("cats", "dogs")
    assert read_request(("cats",), [])[0].data == "cats"
    with pytest.raises(UsageError, match="runs/x: is a study, and no place of images"):
        read_request(["cats", "runs/x"], [])


def test_preparing_writes_nothing(tmp_path):
    """A plan is looked up without touching the study's folder."""
    plan = prepare("digits", ["trainer=toy", "trials=1"], runs=tmp_path / "runs")
    assert plan.path == tmp_path / "runs" / "digits"
    assert not (tmp_path / "runs").exists()


class Filling:
    """Fills the disk when a trial has ended.

    Args:
        fill: Does it.
        trial: The trial's number.
    """

    def __init__(self, fill, trial):
        self.fill, self.trial = fill, trial

    @autotune.hookimpl
    def autotune_trial_finished(self, study, trial):
        """Fills it."""
        if trial.number == self.trial:
            self.fill(200)


def test_a_report_that_cannot_be_written_is_a_full_disk(tmp_path, disk):
    """The error names the place and the remedy; with room again the same call makes up what is missing."""
    asked = ["trainer=toy", "trials=1", "epochs=1"]
    with pytest.raises(StudyError, match="cannot be written") as caught:
        conduct(prepare("digits", asked, runs=tmp_path), observers=[Filling(disk, 0)])
    disk(None)
    assert "make room" in caught.value.hint
    outcome = conduct(prepare("digits", asked, runs=tmp_path))
    assert not outcome.went_on
    assert (outcome.study.path / "report.md").is_file()


def test_why_a_search_ended_is_told_though_the_disk_is_full(tmp_path, disk, monkeypatch):
    """A hand-over that fails does not hide the failures that ended the search."""
    from autotune.builtin.toy.trainer import ToyTrainer

    def fit(self, recipe, data, run):
        raise ValueError("no luck")
        yield

    monkeypatch.setattr(ToyTrainer, "fit", fit)
    asked = ["trainer=toy", "trials=9", "epochs=1"]
    with pytest.raises(AutotuneError, match="5 trials in a row failed alike"):
        conduct(prepare("digits", asked, runs=tmp_path), observers=[Filling(disk, 4)])
