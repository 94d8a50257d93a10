"""From words to a plan, and back from a study's folder."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from autotune.config import read_config
from autotune.errors import DataError, UsageError
from autotune.plan import name_for, reopen
from autotune.testing import tiny_folder


def test_the_folder_is_named_after_the_data(images, plugins, runs, monkeypatch, make):
    """The last part of a path, or a name, becomes a plain folder name."""
    assert make(images, plugins, runs).path == runs / "my-pets"
    assert (name_for("digits"), name_for("s3://a/b c/"), name_for("//")) == ("digits", "b-c", "study")
    monkeypatch.chdir(images)
    assert name_for(".") == "my-pets"


@pytest.mark.parametrize(
    ("place", "name"),
    [("Pets.zip", "pets"), ("pets.tar.gz", "pets"), ("my.pets.csv", "my.pets"), ("folder.d", "folder.d")],
)
def test_the_ending_of_a_file_is_no_part_of_the_name(tmp_path, place, name):
    """Archives and tables give their plain names, folders their whole ones."""
    path = tmp_path / place
    path.mkdir() if place == "folder.d" else path.touch()
    assert name_for(str(path)) == name


def test_the_options_of_a_place_are_no_part_of_the_name():
    """``SCHEME:NAME:OPTION=VALUE`` is called NAME."""
    assert name_for("torchvision:EMNIST:split=letters:root=/data/sets") == "emnist"
    assert name_for("hf:acme/pets:label=kind") == "pets"


def test_a_plan_has_looked_everything_up(images, plugins, runs, make):
    """Candidates, space, presets and first recipes are objects; nothing is written yet."""
    plan = make(images, plugins, runs, "trials=3")
    assert list(plan.backbones) == ["acme/small", "acme/fixed", "acme/large"]
    assert plan.fixed == {"img_size": 64, "batch_size": 16}
    assert set(plan.space) == {"backbone", "share", "lr", "opt", "augment"}
    assert plan.space["augment"].values == tuple(plugins.augmentations)
    assert plan.device == "cpu"
    assert plan.epochs is None
    assert "img_size 64: small images" in plan.reasons
    assert plan.objective.main.metric == "accuracy"
    assert not runs.exists()


def test_a_recipe_is_whole_and_resolved(images, plugins, runs, make, net_recipe):
    """Defaults, presets, what is fixed and what was sampled, in the backbone's own numbers."""
    plan = make(images, plugins, runs, "trials=3", "fixed.lr=0.05")
    recipe = plan.recipe({"backbone": "acme/large", "share": 0.3})
    assert recipe == net_recipe(backbone="acme/large", share=0.3, blocks=3, lr=0.05, img_size=64, batch_size=16)
    assert plan.backbone_of(recipe) is plan.backbones["acme/large"]
    with pytest.raises(ValidationError):
        plan.recipe({"backbone": "acme/large", "lr": -1.0})
    with pytest.raises(UsageError, match="sharee"):
        plan.recipe({"backbone": "acme/large", "sharee": 0.3})


def test_the_written_file_reads_back_to_the_same_plan(images, plugins, runs, make):
    """study.toml says everything: the configuration, the space and what is fixed survive."""
    plan = make(images, plugins, runs, "time=90s", "space.lr.low=3e-4", "fixed.share=0.1", "limits.accuracy=0.9")
    plan.write()
    assert read_config(plan.path / "study.toml") == plan.config
    again = reopen(plan.path, plugins)
    assert (again.config, again.fixed, dict(again.space)) == (plan.config, plan.fixed, dict(plan.space))
    assert again.reasons == plan.reasons
    assert again.portfolio == plan.portfolio
    assert plan.config.made["weights"]["acme/small"] == "digest-small"
    assert not [p for p in plan.path.iterdir() if p.name != "study.toml"]


def test_a_study_opens_from_another_directory(tmp_path, plugins, monkeypatch, make):
    """A relative place of the data is found where it was."""
    monkeypatch.chdir(tmp_path)
    tiny_folder(tmp_path / "pets", each=30)
    plan = make("pets", plugins, tmp_path / "runs", "trials=3")
    plan.write()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert reopen(plan.path, plugins).dataset.data.fingerprint == plan.dataset.data.fingerprint


def test_without_a_total_there_are_fifteen_minutes(images, plugins, runs, make):
    """And it is said."""
    plan = make(images, plugins, runs)
    assert plan.config.time == 900
    assert any("15m" in r for r in plan.reasons)


def test_a_trainer_without_backbones_has_none(images, plugins, runs, make):
    """Its plan has no candidates."""
    plan = make(images, plugins, runs, "trials=2", trainer="toy")
    assert plan.backbones == {}
    assert plan.portfolio == ({},)
    assert plan.recipe({"lr": 0.5}).lr == 0.5


@pytest.mark.parametrize("where", ["no/such/place", "."])
def test_places_without_images_are_refused(plugins, runs, where, tmp_path, monkeypatch, make):
    """No such path, an empty folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        make(where, plugins, runs)
