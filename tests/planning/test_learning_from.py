"""Models of past studies as candidates, and what a study file says of learning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autotune.checkpoint import write_checkpoint
from autotune.config import read_config
from autotune.errors import StudyError
from autotune.plan import resolve
from autotune.relations import Description, Past, PastStudy

FACTS = {"trainer": "net", "backbone": "acme/small", "classes": ["x", "y"], "complete": True, "recipe": {}}


@pytest.fixture
def taught(tmp_path):
    """Makes a past study with a best model that was trained on some images."""

    def make(name, seen=(), resolution=16, **facts):
        best = tmp_path / "past" / name / "best"
        best.mkdir(parents=True)
        write_checkpoint(best / "model.safetensors", {"w": np.zeros(1, np.float32)}, {**FACTS, **facts})
        (best / "trained_on.txt").write_text("".join(f"{one}\n" for one in seen))
        return PastStudy(
            name=name,
            trainer="net",
            description=Description(images=50, classes=3, resolution=resolution, grey=False),
            scores={},
            model=f"study:{best.parent}",
        )

    return make


@pytest.fixture
def learn(images, plugins, runs):
    """Makes the plan of a study that learns from past ones."""

    def make(*studies, assigned=(), reasons=()):
        config = read_config(
            None, ["trials=3", "learn_from=past", *assigned], {"data": str(images), "trainer": "net"}, plugins=plugins
        )
        recall = lambda place, besides: Past(studies=studies, reasons=reasons)  # noqa: E731
        return resolve(config, plugins, runs=runs, recall=recall)

    return make


def test_models_of_past_studies_are_candidates(learn, taught):
    """Those of the most similar images first, three at most, beside what is there anyway; the reasons say so."""
    far, near = taught("far", resolution=300), taught("near")
    plan = learn(far, near, taught("c", resolution=20), taught("d", resolution=24), reasons=("learns from near, far",))
    assert list(plan.backbones)[:3] == ["acme/small", "acme/fixed", "acme/large"]
    assert list(plan.backbones)[3:] == [near.model, f"{near.model[:-4]}c", f"{near.model[:-4]}d"]
    assert plan.config.backbones == tuple(plan.backbones)
    assert "learns from near, far" in plan.reasons
    assert any(reason.startswith("models of past studies are candidates: ") for reason in plan.reasons)
    assert [study.name for study in plan.past] == ["far", "near", "c", "d"]


def test_a_model_that_has_seen_locked_images_is_left_out(learn, taught):
    """By the hash of one validation image; the reason tells how many, and the others stay."""
    val = learn().dataset.data.task.val.ids
    plan = learn(taught("seen", seen=val[:2]), taught("fine"))
    assert [name for name in plan.backbones if name.startswith("study:")] == [taught_name(plan, "fine")]
    (reason,) = [r for r in plan.reasons if r.startswith("left out study:")]
    assert f"was trained on 2 of {len(val)} val images" in reason


def taught_name(plan, name):
    """The only model of a study of that name among the candidates."""
    (found,) = [n for n in plan.backbones if n.endswith(f"/{name}")]
    return found


def test_a_model_that_a_person_names_is_refused(learn, taught):
    """What was asked for by name is never left out in silence."""
    val = learn().dataset.data.task.val.ids
    seen = taught("seen", seen=val[:2])
    with pytest.raises(StudyError, match=f"was trained on 2 of {len(val)} val images"):
        learn(seen, assigned=[f"backbones=['{seen.model}']"])


def test_a_model_that_cannot_be_read_is_left_out(learn, taught, tmp_path):
    """Altered bytes, a network that is not installed: the first line of what is wrong is the reason."""
    altered, unknown = taught("altered"), taught("unknown", backbone="acme/nothing")
    file = tmp_path / "past" / "altered" / "best" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    plan = learn(altered, unknown)
    assert list(plan.backbones) == ["acme/small", "acme/fixed", "acme/large"]
    reasons = [r for r in plan.reasons if r.startswith("left out")]
    assert len(reasons) == 2
    assert "not those that were saved" in reasons[0]
    assert "nothing" in reasons[1]


def test_models_are_not_added_to_what_a_person_chose(learn, taught):
    """Named candidates are those candidates; recipes are learned all the same."""
    plan = learn(taught("fine"), assigned=["backbones=acme/small"])
    assert list(plan.backbones) == ["acme/small"]
    assert len(plan.past) == 1


def test_the_images_are_described_in_the_study_file(learn):
    """So that later studies can tell how alike theirs are."""
    plan = learn()
    assert plan.config.made["description"] == {
        "images": len(plan.dataset.data.task.train),
        "classes": 3,
        "resolution": 16,
        "grey": False,
    }


def test_what_was_learned_is_read_back_and_not_learned_again(learn, taught, images, plugins, runs):
    """The recipes stand behind the first one; the past studies may be gone."""
    plan = learn(taught("fine"))
    recipe = {"backbone": "acme/large", "share": 0.3, "lr": 0.02}
    made = {**plan.config.made, "learned": {"weights": {"past/fine": 0.5}, "recipes": {"1": recipe}}, "screened": ["x"]}
    replace(plan, config=plan.config.model_copy(update={"made": made})).write()

    def gone(place, besides):
        raise AssertionError("not read again")

    words = ["trials=3", "learn_from=past"]
    config = read_config(None, words, {"data": str(images), "trainer": "net"}, plugins=plugins)
    again = resolve(config, plugins, runs=runs, recall=gone)
    assert again.portfolio[1] == recipe
    assert again.portfolio[0] == plan.portfolio[0]
    assert again.portfolio[2:] == plan.portfolio[1:]
    assert again.past == ()
    assert again.config.made["learned"] == made["learned"]
    assert again.config.made["screened"] == ["x"]


def test_a_recipe_is_repeated_without_learning(images, plugins, runs, tmp_path):
    """A trial's recipe file says everything that is to be tried."""
    (tmp_path / "recipe.toml").write_text('[recipe]\nbackbone = "acme/small"\nshare = 0.5\n')
    words = [f"recipe={tmp_path / 'recipe.toml'}", "learn_from=nowhere"]
    config = read_config(None, words, {"data": str(images), "trainer": "net"}, plugins=plugins)
    plan = resolve(config, plugins, runs=runs, recall=lambda place, besides: pytest.fail("nothing to learn"))
    assert plan.config.learn_from is None
