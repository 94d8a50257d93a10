"""A study of several sets of images, from words to a plan and back."""

from __future__ import annotations

import dataclasses

import pytest

import autotune
from autotune.builtin import toy
from autotune.config import read_config
from autotune.errors import ConfigError, DataError, StudyError, UsageError
from autotune.plan import reopen, reopen_data, resolve
from autotune.testing import tiny_folder


class Many:
    """Offers ``many``, which takes several tasks; it is never built."""

    @autotune.hookimpl
    def autotune_trainers(self):
        """Like toy, for several tasks."""
        (spec,) = toy.autotune_trainers()
        return [dataclasses.replace(spec, name="many", tasks="many")]


@pytest.fixture
def plugins(make_plugins):
    """The built-ins that need no torch, and a trainer for several tasks."""
    found = make_plugins()
    found.register(Many(), "many")
    return found


@pytest.fixture
def places(tmp_path):
    """Two folders of images, of three classes and of two."""
    pets = tiny_folder(tmp_path / "data" / "pets", each=30)
    return [str(pets), str(tiny_folder(tmp_path / "data" / "toys", classes=2, each=20, seed=5))]


def plan_of(places, plugins, runs, *assignments, trainer="many"):
    """The plan of a request for several places."""
    config = read_config(None, assignments, {"data": places, "trainer": trainer}, plugins=plugins)
    return resolve(config, plugins, runs=runs)


def test_every_place_is_a_task(places, plugins, runs):
    """The places name the study, each names its task, and what was found is told for each."""
    plan = plan_of(places, plugins, runs, "trials=3")
    assert plan.path == runs / "pets-toys"
    assert [task.name for task in plan.dataset.data.tasks] == ["pets", "toys"]
    found = plan.config.made["found"]
    assert found[0].startswith("pets: 90 images of 3 classes")
    assert any(line.startswith("toys: 40 images of 2 classes") for line in found)
    assert plan.config.made["tasks"] == ["pets", "toys"]


def test_the_written_file_reads_back_to_the_same_plan(places, plugins, runs, tmp_path, monkeypatch):
    """study.toml holds the places as a list, and the study opens from another directory."""
    monkeypatch.chdir(tmp_path / "data")
    plan = plan_of(["pets", "toys"], plugins, runs, "trials=3", "metric=toys/accuracy")
    plan.write()
    assert 'data = ["pets", "toys"]' in (plan.path / "study.toml").read_text()
    assert read_config(plan.path / "study.toml") == plan.config
    monkeypatch.chdir(tmp_path)
    again = reopen(plan.path, plugins)
    assert again.dataset.data.fingerprint == plan.dataset.data.fingerprint
    assert again.objective.main == autotune.Goal("toys/accuracy", "maximize")
    assert reopen_data(plan.path, plugins).test_fingerprint == plan.dataset.test_fingerprint


def test_several_sets_for_a_trainer_of_one_are_refused(places, plugins, runs):
    """One error, which says what trains several."""
    with pytest.raises(ConfigError, match="trainer=multitask") as caught:
        plan_of(places, plugins, runs, trainer="toy")
    (problem,) = caught.value.problems
    assert "2 sets of images, but trainer 'toy' takes one" in problem


@pytest.mark.parametrize(
    ("metric", "trainer", "complaint"),
    [
        ("pet/accuracy", "many", "no task is called 'pet'; did you mean 'pets'"),
        ("pets/acuracy", "many", "reports accuracy"),
        ("pets/accuracy:up", "many", "no direction"),
    ],
)
def test_a_metric_of_no_task_is_refused(places, plugins, runs, metric, trainer, complaint):
    """A misspelt task, metric or direction is told with what was meant."""
    with pytest.raises(ConfigError) as caught:
        plan_of(places, plugins, runs, f"metric={metric}", trainer=trainer)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("trainer", ["toy", "many"])
def test_with_one_set_there_are_no_metrics_of_tasks(places, plugins, runs, trainer):
    """A score of the only task is written plainly, whatever the trainer could take."""
    with pytest.raises(ConfigError, match="write 'accuracy'"):
        plan_of(places[:1], plugins, runs, "metric=pets/accuracy", trainer=trainer)
    assert [task.name for task in plan_of(places[:1], plugins, runs).dataset.data.tasks] == ["pets"]


def test_two_sets_of_one_name_are_refused(places, plugins, runs, tmp_path):
    """Nobody could tell their scores apart."""
    again = tiny_folder(tmp_path / "other" / "pets", each=30, seed=3)
    with pytest.raises(UsageError, match="would both be the task 'pets'"):
        plan_of([*places, str(again)], plugins, runs)


@pytest.mark.parametrize("classes", [0, 1])
def test_a_task_that_cannot_be_learned_is_named(places, plugins, runs, tmp_path, classes):
    """An empty place, or one with a single class, is one error with the name of its task."""
    place = tmp_path / "data" / "bare"
    place.mkdir()
    if classes:
        tiny_folder(place, classes=1)
    with pytest.raises(DataError, match=r"^task 'bare': "):
        plan_of([*places, str(place)], plugins, runs)


def test_tasks_keep_names_and_order(places, plugins, runs):
    """A study does not go on with its sets in another order, or with one of them left out or changed."""
    plan_of(places, plugins, runs, "trials=3").write()
    with pytest.raises(StudyError, match=r"called pets, toys, and are called toys, pets now"):
        plan_of(places[::-1], plugins, runs, "trials=3", "name=pets-toys")
    with pytest.raises(StudyError, match=r"called pets, toys, and are called pets now"):
        plan_of(places[:1], plugins, runs, "trials=3", "name=pets-toys")
    tiny_folder(runs.parent / "data" / "toys", classes=2, each=20, seed=8)
    with pytest.raises(StudyError, match="holds a study of other images"):
        plan_of(places, plugins, runs, "trials=3")
