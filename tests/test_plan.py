"""From words to a plan, and back from a study's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

import autotune
from autotune.builtin import digits, folders, policies, toy
from autotune.config import read_config
from autotune.errors import (
    ConfigError,
    DataError,
    PluginError,
    StudyError,
    UnknownName,
    UsageError,
    WeightsUnavailable,
)
from autotune.plan import name_for, reopen, reopen_data, resolve
from autotune.plugins import Plugins
from autotune.testing import tiny_folder


class NetRecipe(autotune.Recipe):
    """A trainer's that uses backbones."""

    backbone: Annotated[str, autotune.Choice(registry="backbones")] = Field(description="The network.")
    share: Annotated[float, autotune.Float(0.0, 1.0)] = Field(0.5, description="Share of blocks.")
    blocks: int | None = Field(None, description="Filled in.")
    lr: Annotated[float, autotune.Float(1e-4, 1e-1, log=True)] = Field(1e-2, gt=0, description="Rate.")
    opt: Annotated[Literal["adamw", "sgd"], autotune.Choice()] = "adamw"
    augment: Annotated[str, autotune.Choice(registry="augmentations")] = "none"
    img_size: int | None = Field(None, ge=8, description="Side in pixels.")
    batch_size: int = Field(32, ge=1, description="Images a step.")

    def resolve(self, backbone):
        """Turns the share into a number of blocks."""
        return self.model_copy(update={"blocks": round(self.share * backbone.blocks)})


class Net(autotune.Backbone):
    """A network that is only named, never built."""

    def __init__(self, facts, weights=None):
        self.facts, self.weights = facts, weights

    def with_weights(self, weights):
        """The same with other weights."""
        return Net(self.facts, weights)

    def build(self, classes, **how):
        """Builds nothing."""
        raise UsageError("never built here")

    def blocks(self, module):
        """No blocks."""
        return ()

    def head(self, module):
        """No head."""
        return ()


NETS = {
    "small": autotune.Facts(name="acme/small", params=1, blocks=4, input_size=64, cost=0.1),
    "large": autotune.Facts(name="acme/large", params=9, blocks=10, input_size=64, cost=900.0),
    "fixed": autotune.Facts(name="acme/fixed", params=1, blocks=4, input_size=64, sizes="fixed", cost=0.2),
    "bare": autotune.Facts(name="acme/bare", params=1, blocks=4, input_size=64, cost=0.3),
}


class Acme(autotune.BackboneSource):
    """Four networks; of one there are no weights."""

    def names(self):
        """Every name."""
        return list(NETS)

    def backbone(self, name):
        """One of them."""
        if name not in NETS:
            raise UnknownName("acme network", name, NETS)
        return Net(NETS[name])

    def fetch(self, name):
        """Its weights, as if from a cache."""
        if name == "bare":
            raise WeightsUnavailable("acme/bare: the hub cannot be reached")
        return autotune.Weights(path=Path(f"/{name}"), digest=f"digest-{name}", source="hub")


def presets(profile, backbones, device):
    """Chooses two values."""
    return autotune.Presets(
        fixed={"img_size": 64, "batch_size": 16}, reasons=["img_size 64: small images", "batch_size 16: few images"]
    )


class Guest:
    """Offers all of the above, and first recipes."""

    local = ("small", "large", "fixed")
    starts = ({"share": 0.0, "lr": 1e-2}, {"share": 1.0, "opt": "sgd"}, {"share": 1.0, "opt": "adamw"})
    space = None

    @autotune.hookimpl
    def autotune_trainers(self):
        """A trainer that is never built."""
        return [autotune.TrainerSpec(name="net", summary="Nets.", recipe=NetRecipe, build=object, presets=presets)]

    @autotune.hookimpl
    def autotune_backbones(self):
        """The source."""
        return [autotune.BackboneSourceSpec(name="acme", summary="Acme's.", build=Acme)]

    @autotune.hookimpl
    def autotune_weights(self):
        """Weights for some."""
        source = Acme()
        return [
            autotune.WeightsSpec(
                backbone=f"acme/{n}", summary="Local.", licence=None, locate=lambda n=n: source.fetch(n)
            )
            for n in self.local
        ]

    @autotune.hookimpl
    def autotune_warm_start(self, trainer):
        """First recipes."""
        return self.starts if trainer.name == "net" else ()

    @autotune.hookimpl
    def autotune_search_space(self, trainer):
        """A space, if the test sets one."""
        return self.space if trainer.name == "net" else None


def make_plugins(**changes):
    """The built-ins that need no torch, and the guest."""
    guest = Guest()
    for name, value in changes.items():
        setattr(guest, name, value)
    found = Plugins()
    for plugin in (toy, policies, digits, folders, guest):
        found.register(plugin, getattr(plugin, "__name__", "guest"))
    return found


@pytest.fixture
def plugins():
    """The built-ins that need no torch, and the guest."""
    return make_plugins()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of tiny images."""
    return tiny_folder(tmp_path_factory.mktemp("data") / "My Pets!", each=30)


@pytest.fixture
def runs(tmp_path):
    """Where studies go."""
    return tmp_path / "runs"


def make(images, plugins, runs, *assignments, trainer="net"):
    """The plan of a request."""
    config = read_config(None, assignments, {"data": str(images), "trainer": trainer}, plugins=plugins)
    return resolve(config, plugins, runs=runs)


def test_the_folder_is_named_after_the_data(images, plugins, runs, monkeypatch):
    """The last part of a path, or a name, becomes a plain folder name."""
    assert make(images, plugins, runs).path == runs / "my-pets"
    assert (name_for("digits"), name_for("s3://a/b c/"), name_for("//")) == ("digits", "b-c", "study")
    monkeypatch.chdir(images)
    assert name_for(".") == "my-pets"


def test_a_plan_has_looked_everything_up(images, plugins, runs):
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


def test_the_first_recipe_is_tried_with_every_candidate(images, plugins, runs):
    """So candidates compare; the others are tried with the first candidate."""
    plan = make(images, plugins, runs, "trials=3")
    assert [(p["backbone"], p["share"]) for p in plan.portfolio] == [
        ("acme/small", 0.0),
        ("acme/fixed", 0.0),
        ("acme/large", 0.0),
        ("acme/small", 1.0),
        ("acme/small", 1.0),
    ]


def test_what_is_fixed_leaves_the_space_and_the_first_recipes(images, plugins, runs):
    """A proposal keeps what is open, and none is tried twice."""
    plan = make(images, plugins, runs, "trials=3", "fixed.opt=sgd", "backbones=acme/small")
    assert set(plan.space) == {"share", "lr", "augment"}
    assert plan.fixed["opt"] == "sgd"
    assert plan.fixed["backbone"] == "acme/small"
    assert plan.portfolio == ({"share": 0.0, "lr": 0.01}, {"share": 1.0})


def test_without_first_recipes_the_defaults_come_first(images, runs):
    """An empty proposal means the recipe's defaults."""
    plan = make(images, make_plugins(starts=()), runs, "trials=1", "backbones=acme/small")
    assert plan.portfolio == ({},)


def test_a_recipe_is_whole_and_resolved(images, plugins, runs):
    """Defaults, presets, what is fixed and what was sampled, in the backbone's own numbers."""
    plan = make(images, plugins, runs, "trials=3", "fixed.lr=0.05")
    recipe = plan.recipe({"backbone": "acme/large", "share": 0.3})
    assert recipe == NetRecipe(backbone="acme/large", share=0.3, blocks=3, lr=0.05, img_size=64, batch_size=16)
    assert plan.backbone_of(recipe) is plan.backbones["acme/large"]
    with pytest.raises(ValidationError):
        plan.recipe({"backbone": "acme/large", "lr": -1.0})
    with pytest.raises(UsageError, match="sharee"):
        plan.recipe({"backbone": "acme/large", "sharee": 0.3})


def test_a_study_file_narrows_widens_and_opens(images, plugins, runs):
    """Ranges change; a field without one gets one, and a preset makes room for it."""
    plan = make(
        images,
        plugins,
        runs,
        "trials=3",
        "space.lr.high=1",
        "space.batch_size.values=[8, 16]",
        "space.opt.values=['sgd']",
        "space.img_size={low=32, high=64, step=32}",
        "backbones=acme/small",
    )
    assert plan.space["lr"] == autotune.Float(1e-4, 1.0, log=True)
    assert plan.space["batch_size"] == autotune.Choice((8, 16))
    assert plan.space["img_size"] == autotune.Int(32, 64, step=32)
    assert plan.fixed == {"opt": "sgd", "backbone": "acme/small"}
    assert not [r for r in plan.reasons if r.startswith(("img_size", "batch_size"))]


def test_a_plugins_space_is_taken_and_changed(images, runs):
    """It keeps the candidates that it says nothing of; what it changed is no longer preset."""
    space = autotune.SearchSpace({"lr": autotune.Float(0.1, 0.2), "batch_size": autotune.Choice((4, 8))})
    plan = make(images, make_plugins(space=space, starts=()), runs, "trials=3", "space.lr.high=0.5")
    assert set(plan.space) == {"backbone", "lr", "augment", "batch_size"}
    assert plan.space["lr"] == autotune.Float(0.1, 0.5)
    wrong = autotune.SearchSpace({"backbone": autotune.Choice(("acme/none",))})
    with pytest.raises(PluginError, match="acme/none"):
        make(images, make_plugins(space=wrong), runs, "trials=3")


def test_the_written_file_reads_back_to_the_same_plan(images, plugins, runs):
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


def test_the_same_request_goes_on(images, plugins, runs):
    """What was chosen stays chosen, and a larger total takes the place of the old one."""
    first = make(images, plugins, runs, "trials=3")
    first.paced(7, "7 epochs: they fit").write()
    again = make(images, make_plugins(local=("small",)), runs, "trials=9")
    assert (again.epochs, again.config.trials, again.config.time) == (7, 9, None)
    assert "7 epochs: they fit" in again.reasons
    assert list(again.backbones) == list(first.backbones)
    unsaid = make(images, plugins, runs)
    assert (unsaid.config.trials, unsaid.config.time) == (3, None)
    longer = reopen(first.path, plugins, time=60.0)
    assert (longer.config.trials, longer.config.time) == (None, 60.0)


def test_asking_for_what_was_chosen_is_the_same_study(images, plugins, runs):
    """The chosen image size, or the whole written file, asked for again, means the study that lies there."""
    make(images, plugins, runs, "trials=3").paced(7).write()
    assert make(images, plugins, runs, "img_size=64", "epochs=7").epochs == 7
    file = runs / "my-pets" / "study.toml"
    assert resolve(read_config(file, ["time=5m"]), plugins, runs=runs).config.time == 300


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("seed=1", "seed: 0 there, 1 now"),
        ("fixed.lr=0.5", "fixed.lr: not given there, 0.5 now"),
        ("space.lr.low=0.01", "space.lr: {low = 0.0001, high = 0.1, log = true} (chosen by autotune) there"),
        ("epochs=9", "epochs: 7 (chosen by autotune) there, 9 now"),
        ("metric=accuracy:minimize", "metric"),
        ("backbones=acme/small", "backbones"),
        ("pretrained=false", "pretrained: true there, false now"),
        ("splits.test=0.2", "splits.test: 0.15 there, 0.2 now"),
        ("trainer=toy", "trainer: 'net' there, 'toy' now"),
    ],
)
def test_another_study_in_the_folder_is_refused(images, plugins, runs, assignment, told):
    """The keys that differ are named with both values, and what to do."""
    make(images, plugins, runs, "trials=3").paced(7).write()
    values = {"data": str(images), "trainer": "net", "trials": 3}
    if assignment.startswith("trainer"):
        del values["trainer"]
    with pytest.raises(StudyError, match="holds another study") as caught:
        resolve(read_config(None, [assignment], values), plugins, runs=runs)
    assert told in str(caught.value)
    assert "name=" in str(caught.value)


def test_a_folder_with_other_content_is_refused(images, plugins, runs):
    """Nothing of somebody else's is overwritten; an empty folder is fine."""
    (runs / "my-pets").mkdir(parents=True)
    assert make(images, plugins, runs)
    (runs / "my-pets" / "diary.txt").write_text("dear diary")
    with pytest.raises(StudyError, match="holds no study"):
        make(images, plugins, runs)
    with pytest.raises(StudyError, match="there is no study"):
        reopen(runs / "nowhere", plugins)


def test_a_study_of_a_newer_version_is_refused(images, plugins, runs):
    """The remedy is to upgrade."""
    plan = make(images, plugins, runs)
    plan.write()
    file = plan.path / "study.toml"
    file.write_text(file.read_text().replace("format = 1", "format = 2\nwarp = 9"))
    for call in (lambda: make(images, plugins, runs), lambda: reopen(plan.path, plugins)):
        with pytest.raises(StudyError, match="newer autotune") as caught:
            call()
        assert "pip install -U" in str(caught.value)


def test_a_damaged_study_file_is_refused(images, plugins, runs):
    """The mistakes in it are told."""
    plan = make(images, plugins, runs)
    plan.write()
    (plan.path / "study.toml").write_text("format = 1\nsed = 3\n")
    with pytest.raises(StudyError, match="did you mean 'seed'"):
        make(images, plugins, runs)


def test_changed_images_are_noticed(tmp_path, plugins, runs):
    """A study goes on with the images that it began with, or not at all."""
    images = tiny_folder(tmp_path / "pets", each=30)
    plan = make(images, plugins, runs, "trials=3")
    plan.write()
    assert reopen_data(plan.path, plugins).data.fingerprint == plan.dataset.data.fingerprint
    gone = plan.dataset.data.task.train.keys[0]
    (images / gone).unlink()
    for call in (lambda: make(images, plugins, runs), lambda: reopen_data(plan.path, plugins)):
        with pytest.raises(StudyError, match="train or val images"):
            call()


def test_changed_weights_are_noticed(images, plugins, runs, monkeypatch):
    """A study does not go on from other weights than it began with."""
    plan = make(images, plugins, runs, "trials=3")
    plan.write()
    monkeypatch.setattr(
        Acme, "fetch", lambda self, n: autotune.Weights(path=Path("/x"), digest=f"new-{n}", source="hub")
    )
    with pytest.raises(StudyError, match="began with other weights of acme/small"):
        reopen(plan.path, make_plugins())


def test_a_study_opens_from_another_directory(tmp_path, plugins, monkeypatch):
    """A relative place of the data is found where it was."""
    monkeypatch.chdir(tmp_path)
    tiny_folder(tmp_path / "pets", each=30)
    plan = make("pets", plugins, tmp_path / "runs", "trials=3")
    plan.write()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert reopen(plan.path, plugins).dataset.data.fingerprint == plan.dataset.data.fingerprint


def test_a_handed_over_file_begins_a_study_and_says_what_differs(images, plugins, runs, tmp_path):
    """The same file over other images is a new study, which notes that."""
    make(images, plugins, runs, "trials=3").write()
    other = tiny_folder(tmp_path / "other", each=30, seed=5)
    config = read_config(runs / "my-pets" / "study.toml", [f"data={other}", "name=mine"])
    plan = resolve(config, plugins, runs=runs)
    assert plan.path == runs / "mine"
    assert any("not those that the study file was written for" in r for r in plan.reasons)


def test_image_sizes_that_a_candidate_refuses_are_named(images, plugins, runs):
    """Backbone, size and the nearest acceptable size, for every size that may occur."""
    with pytest.raises(UsageError, match="acme/fixed takes images of 64 px only, not 96; the nearest is 64"):
        make(images, plugins, runs, "backbones=['acme/small', 'acme/fixed']", "img_size=96")
    with pytest.raises(UsageError, match="not 48"):
        make(images, plugins, runs, "backbones=['acme/fixed']", "space.img_size.values=[48, 64]")
    left = make(images, plugins, runs, "img_size=96", "trials=3")
    assert "acme/fixed" not in left.backbones


def test_all_candidates_that_cannot_be_had_are_told_at_once(images, plugins, runs):
    """Each with its remedy."""
    with pytest.raises(WeightsUnavailable, match="acme/bare") as caught:
        make(images, plugins, runs, "backbones=acme/bare")
    assert "pretrained=false" in str(caught.value)
    with pytest.raises(UsageError, match="3 of 4 backbones cannot be had") as caught:
        make(images, plugins, runs, "backbones=['acme/bare', 'acme/smal', 'timm/x', 'acme/small']")
    for told in ("acme/bare", "did you mean 'small'", "'timm'"):
        assert told in str(caught.value)
    with pytest.raises(WeightsUnavailable, match="2 of 2"):
        make(images, plugins, runs, "backbones=['acme/bare', 'acme/small@nowhere.pth']")
    with pytest.raises(UsageError, match="SOURCE/NAME"):
        make(images, plugins, runs, "backbones=small")


def test_random_weights_are_only_taken_when_asked_for(images, plugins, runs):
    """Asked for, nothing is looked up."""
    plan = make(images, plugins, runs, "backbones=acme/bare", "pretrained=false")
    assert plan.backbones["acme/bare"].weights is None


def test_no_weights_at_all_is_an_error_with_remedies(images, runs):
    """Nothing is installed and the hub offers nothing: the message says what to do."""
    with pytest.raises(WeightsUnavailable, match="no pretrained weights") as caught:
        make(images, make_plugins(local=()), runs)
    for remedy in ("autotune-efficientnet-lite", "pretrained=false", "@weights"):
        assert remedy in str(caught.value)


def test_a_short_time_leaves_dear_candidates_out(images, plugins, runs):
    """Chosen candidates must be affordable; named ones are taken as they are named."""
    short = make(images, plugins, runs, "time=30s")
    assert "acme/large" not in short.backbones
    assert any("acme/large left out" in r for r in short.reasons)
    assert "acme/large" in make(images, plugins, runs, "time=30s", "name=b", "backbones=acme/large").backbones


def test_without_a_total_there_are_fifteen_minutes(images, plugins, runs):
    """And it is said."""
    plan = make(images, plugins, runs)
    assert plan.config.time == 900
    assert any("15m" in r for r in plan.reasons)


def test_a_trainer_without_backbones_has_none(images, plugins, runs):
    """Its plan has no candidates."""
    plan = make(images, plugins, runs, "trials=2", trainer="toy")
    assert plan.backbones == {}
    assert plan.portfolio == ({},)
    assert plan.recipe({"lr": 0.5}).lr == 0.5


def test_presets_that_the_trainer_refuses_are_its_plugins_mistake(images, runs):
    """The message names the trainer."""

    class Wrong(Guest):
        @autotune.hookimpl
        def autotune_trainers(self):
            """Presets of a wrong type."""
            bad = autotune.Presets(fixed={"batch_size": 0, "speed": 1})
            return [
                autotune.TrainerSpec(name="net", summary="", recipe=NetRecipe, build=object, presets=lambda *_: bad)
            ]

    found = Plugins()
    for plugin in (policies, folders, Wrong()):
        found.register(plugin, "plugin-" + str(id(plugin)))
    with pytest.raises(PluginError, match="trainer 'net': its presets are wrong: speed"):
        make(images, found, runs)


@pytest.mark.parametrize("where", ["no/such/place", "."])
def test_places_without_images_are_refused(plugins, runs, where, tmp_path, monkeypatch):
    """No such path, an empty folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        make(where, plugins, runs)


def test_a_trial_is_repeated_from_its_recipe(images, plugins, runs, tmp_path):
    """Everything is fixed, the trial's own seed and epochs included; one trial is all."""
    study = make(images, plugins, runs, "trials=3", "seed=4").paced(7)
    study.write()
    recipe = study.recipe({"backbone": "acme/fixed", "lr": 0.02}).model_dump()
    file = tmp_path / "recipe.toml"
    lines = [f"{k} = {json.dumps(v)}" for k, v in recipe.items()]
    file.write_text("\n".join(["trial = 2", "seed = 1234", "epochs = 14", "[recipe]", *lines]))
    config = read_config(study.path / "study.toml", [f"recipe={file}", "name=again"])
    plan = resolve(config, plugins, runs=runs)
    assert plan.config.trials == 3
    assert (len(plan.space), plan.epochs, plan.config.trial_seed) == (0, 14, 1234)
    assert list(plan.backbones) == ["acme/fixed"]
    assert plan.recipe({}).model_dump() == recipe
    plan.write()
    assert resolve(config, plugins, runs=runs).config == plan.config
    alone = resolve(
        read_config(None, [f"recipe={file}", "epochs=3", "fixed.lr=0.5"], {"data": str(images), "trainer": "net"}),
        plugins,
        runs=tmp_path,
    )
    assert (alone.epochs, alone.fixed["lr"], alone.config.trials, alone.config.time) == (3, 0.5, 1, None)


def test_a_file_that_is_no_recipe_is_refused(images, plugins, runs, tmp_path):
    """Missing, without a recipe, or with values that the trainer refuses."""
    file = tmp_path / "recipe.toml"
    with pytest.raises(UsageError, match="no such file"):
        make(images, plugins, runs, f"recipe={file}")
    file.write_text("seed = 1\n")
    with pytest.raises(ConfigError, match=r"no table \[recipe\]"):
        make(images, plugins, runs, f"recipe={file}")
    file.write_text("[recipe]\nlr = -3.0\nbackbone = 'acme/small'\n")
    with pytest.raises(ConfigError, match=r"fixed\.lr"):
        make(images, plugins, runs, f"recipe={file}")
