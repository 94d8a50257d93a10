"""Several sets of images on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.testing import tiny_folder

NETWORK = ("trainer=multitask", "backbones=['timm/test_resnet']", "pretrained=false", "img_size=32")


@pytest.fixture
def sets(call):
    """Two folders of images in the current folder."""
    tiny_folder(Path("pets"), each=20)
    tiny_folder(Path("toys"), classes=2, each=10, seed=4)
    return "pets", "toys"


def test_a_trainer_of_one_task_is_refused_with_the_one_of_several(call, sets):
    """The default trainer takes one set; the message says which takes several."""
    said = call("search", *sets, "--trials", "1")
    assert said.code == 2
    assert "trainer=multitask" in said.err
    assert not Path("runs").exists()


def test_show_tells_what_was_found_in_each(call, sets):
    """The plan of several tasks: what each place holds, one study, weights of tasks in the space."""
    said = call("show", *sets, *NETWORK, "--trials", "2")
    assert said.code == 0, said.err
    for text in ("data: pets, toys", "pets: 60 images of 3 classes", "toys: 20 images of 2 classes",
                 "study: runs/pets-toys", "balance", "weighting"):  # fmt: skip
        assert text in said.out
    record = call("show", *sets, *NETWORK, "--trials", "2", "--json").json
    assert record["config"]["data"] == ["pets", "toys"]
    assert len(record["data"]) == 2


def test_init_drafts_a_study_of_several(call, sets):
    """The drafted file lists the places, and can be shown."""
    assert call("init", *sets, "trainer=multitask").code == 0
    assert 'data = ["pets", "toys"]' in Path("study.toml").read_text()
    said = call("show", "study.toml", *NETWORK[1:], "--trials", "1")
    assert said.code == 0, said.err
    assert "toys: 20 images" in said.out


def test_a_task_of_a_single_task_study_is_refused(call, folder):
    """A study of one set has no tasks to choose from."""
    said = call("evaluate", folder, "--unlock-test", "--task", "pets")
    assert said.code == 2
    assert "no task is called 'pets'" in said.err
    Path("images").mkdir()
    said = call("predict", folder, "images", "--task", "pets")
    assert said.code == 2
    assert "leave the task out" in said.err


@pytest.mark.slow
def test_a_study_of_two_tasks_from_search_to_evaluation(call, sets):
    """Search, go on, look, predict each task's images, measure each test set: one model answers for both."""
    said = call("search", *sets, *NETWORK, "epochs=2", "--trials", "2", "--quiet")
    assert said.code == 0, said.err
    assert "pets/accuracy" in said.out
    more = call("search", *sets, *NETWORK, "epochs=2", "--trials", "3", "--json", "--quiet")
    assert more.json["trials"]["counted"] == 3
    metrics = more.json["best"]["metrics"]
    assert metrics["accuracy"] == pytest.approx((metrics["pets/accuracy"] + metrics["toys/accuracy"]) / 2)
    assert "pets/accuracy" in Path("runs/pets-toys/report.md").read_text()
    assert "as the task `toys`" in Path("runs/pets-toys/best/README.md").read_text()
    for task, classes in (("pets", 3), ("toys", 2)):
        lines = call("predict", "runs/pets-toys", task, "--task", task, "--top", "9").out.splitlines()
        assert len(lines) == classes * (20 if task == "pets" else 10)
        assert all(line.count("class-") == classes + 1 for line in lines)
    first = call("predict", "runs/pets-toys", "toys", "--top", "9").out.splitlines()
    assert all(line.count("class-") == 4 for line in first)
    assert call("predict", "runs/pets-toys", "toys", "--task", "toy").code == 2
    record = call("evaluate", "runs/pets-toys", "--unlock-test", "--json").json
    assert (record["task"], [other["task"] for other in record["others"]]) == ("pets", ["toys"])
    assert record["opened"] == record["others"][0]["opened"] == 1
    assert call("evaluate", "runs/pets-toys", "--unlock-test", "--task", "toys", "--json").json["opened"] == 2
    by_one = call(
        "search", *sets, *NETWORK, "epochs=1", "metric=toys/accuracy", "--trials", "1", "--name", "x", "--json"
    )
    assert by_one.json["metric"] == "toys/accuracy"
