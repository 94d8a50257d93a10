"""From words to a plan: which study is meant, and where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

import autotune
from autotune.searching import prepare, read_request, study_file


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


def test_preparing_writes_nothing(tmp_path):
    """A plan is looked up without touching the study's folder."""
    plan = prepare("digits", ["trainer=toy", "trials=1"], runs=tmp_path / "runs")
    assert plan.path == tmp_path / "runs" / "digits"
    assert not (tmp_path / "runs").exists()
