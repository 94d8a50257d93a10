"""From a folder of images to a backbone, and to figures on classes that it has never seen."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from autotune_metalearn import learn
from autotune_metalearn.command import command
from autotune_metalearn.comparing import compare
from autotune_metalearn.episodes import Drawer, Episodes
from autotune_metalearn.learning import climb
from autotune_metalearn.reading import Sides, side_of
from click.testing import CliRunner
from safetensors.torch import load_file

import autotune
from autotune.checkpoint import read_checkpoint, write_checkpoint
from autotune.lookup import resolve_backbone
from autotune.plugins import load_plugins

QUICK = {"ways": 3, "shots": 1, "queries": 2, "tasks": 2, "inner_steps": 2, "steps": 2, "width": 8, "img_size": 32}


@pytest.fixture(scope="module")
def anil(shapes: Path, name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ANIL made of the shapes."""
    folder = tmp_path_factory.mktemp("anil") / "out"
    learn(shapes, "anil", folder, backbone=name, device="cpu", **QUICK)
    return folder


@pytest.fixture(scope="module")
def reptile(shapes: Path, name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Reptile made of the shapes."""
    folder = tmp_path_factory.mktemp("reptile") / "out"
    learn(shapes, "reptile", folder, backbone=name, device="cpu", **QUICK)
    return folder


@pytest.mark.parametrize("method", ["anil", "reptile"])
def test_the_result_is_a_backbone(method: str, request: pytest.FixtureRequest, sides: Sides) -> None:
    """``study:FOLDER`` builds it, with what it was trained on and the preprocessing that it was trained with."""
    folder: Path = request.getfixturevalue(method)
    backbone = resolve_backbone(f"study:{folder}", load_plugins())
    assert backbone.weights is not None
    assert backbone.weights.trained_on == {*sides.train.split.ids, *sides.val.split.ids}
    assert not backbone.weights.trained_on & set(sides.test.split.ids)
    assert backbone.facts.input_size == 32
    saved = load_file(folder / "model.safetensors")
    whole = backbone.build(3, keep_head=True)
    assert all(torch.equal(t, saved[n]) for n, t in whole.state_dict().items())
    assert backbone.build(7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert len(backbone.blocks(whole)) == backbone.facts.blocks


def test_what_was_frozen_is_the_pretrained_files(anil: Path, reptile: Path, name: str) -> None:
    """ANIL changes nothing beneath the projection, Reptile nothing beneath the topmost block, by not a bit."""
    before = load_file(name.partition("@")[2])
    backbone = resolve_backbone(name, load_plugins())
    top = set(backbone.blocks(backbone.build(3))[-1])
    after = load_file(anil / "model.safetensors")
    assert after.keys() - before.keys() == {
        f"fc.{n}" for n in ("projection.weight", "projection.bias", "head.weight", "head.bias")
    }
    assert all(torch.equal(t, after[n]) for n, t in before.items() if not n.startswith("fc."))
    after = load_file(reptile / "model.safetensors")
    assert all(torch.equal(t, after[n]) for n, t in before.items() if not n.startswith("fc.") and n not in top)


def test_the_facts_say_how_it_came_about(anil: Path, shapes: Path) -> None:
    """Classes, settings and the curve are in the json beside the weights."""
    facts = autotune.read_checkpoint(anil / "model.safetensors").facts
    assert facts["settings"]["method"] == "anil"
    assert {side_of(name) for name in facts["learned_from"]} == {"train"}
    assert {side_of(name) for name in facts["chosen_by"]} == {"val"}
    assert [point["step"] for point in facts["curve"]] == [0, 1, 2]
    assert facts["architecture"] == "metalearn/8/timm/test_resnet"


def test_the_same_seed_gives_the_same_result(anil: Path, shapes: Path, name: str, tmp_path: Path) -> None:
    """Bit by bit."""
    learn(shapes, "anil", tmp_path / "again", backbone=name, device="cpu", **QUICK)
    one, other = (load_file(folder / "model.safetensors") for folder in (anil, tmp_path / "again"))
    assert all(torch.equal(t, other[n]) for n, t in one.items())


def test_it_can_be_searched_with(anil: Path, shapes: Path, tmp_path: Path) -> None:
    """A search over classes that were never seen takes the projection as one block more."""
    images = tmp_path / "unseen"
    for folder in shapes.iterdir():
        if side_of(folder.name) == "test":
            shutil.copytree(folder, images / folder.name)
    study = autotune.search(
        images,
        "fixed.unfreeze=1",
        "fixed.head_epochs=1",
        backbones=[f"study:{anil}"],
        trials=1,
        epochs=1,
        device="cpu",
        runs=tmp_path / "runs",
    )
    assert study.best.trial.recipe["unfreeze"] == 1
    assert study.best.load().predict([autotune.read_image(images / "class-00" / "0.png")]).shape == (1, 9)


def test_the_comparison_has_all_ways_and_intervals(anil: Path, shapes: Path) -> None:
    """Both shots, five ways each, tuned; one difference for each number of shots; the same twice."""
    found = compare(anil, shapes, shots=(1, 2), queries=3, episodes=30, device="cpu")
    assert (found.method, found.ways, found.classes, found.episodes) == ("anil", 3, 9, 30)
    assert [(s.head, s.features, s.shots) for s in found.scores] == [
        (head, features, shots)
        for shots in (1, 2)
        for head, features in (
            ("centroid", "pretrained"),
            ("logistic", "pretrained"),
            ("centroid", "meta-learned"),
            ("logistic", "meta-learned"),
            ("adapted", "meta-learned"),
        )
    ]
    assert all(0 <= s.accuracy <= 1 and s.interval >= 0 and s.settings for s in found.scores)
    for difference in found.differences:
        scores = {(s.head, s.features): s.accuracy for s in found.scores if s.shots == difference.shots}
        expected = scores["adapted", "meta-learned"] - scores[difference.against, "pretrained"]
        assert difference.accuracy == pytest.approx(expected, abs=1e-5)
    assert compare(anil, shapes, shots=(1, 2), queries=3, episodes=30, device="cpu") == found


@pytest.mark.slow
def test_reptile_is_compared_too(reptile: Path, shapes: Path) -> None:
    """Its blocks adapt to every task; the command prints a line for each way."""
    words = ["evaluate", str(reptile), str(shapes), "--shots", "1", "--queries", "2", "--episodes", "5"]
    done = CliRunner().invoke(command, [*words, "--device", "cpu"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "3-way, 5 tasks from 9 classes never seen" in done.output
    assert "reptile, adapted" in done.output
    assert "points" in done.output


def test_images_that_were_learned_from_are_not_measured_on(anil: Path, shapes: Path, tmp_path: Path) -> None:
    """A class to learn from that is copied under the name of a class to measure on is found out."""
    shutil.copytree(shapes, tmp_path / "images")
    shutil.rmtree(tmp_path / "images" / "class-00")
    (tmp_path / "images" / "class-01").rename(tmp_path / "images" / "class-00")
    with pytest.raises(autotune.DataError, match="8 of the 72 images to measure on were learned from"):
        compare(anil, tmp_path / "images", shots=(1,), queries=2, episodes=2)


def test_other_folders_are_refused(anil: Path, shapes: Path, name: str, tmp_path: Path) -> None:
    """An empty folder, somebody else's model, and a result whose first weights were exchanged."""
    with pytest.raises(autotune.CheckpointError, match="no such checkpoint"):
        compare(tmp_path, shapes)
    shutil.copytree(anil, tmp_path / "copy")
    path = tmp_path / "copy" / "model.safetensors"
    whole = read_checkpoint(path)
    write_checkpoint(path, whole.tensors(), {**whole.facts, "weights": "0" * 16})
    with pytest.raises(autotune.CheckpointError, match="started from other weights"):
        compare(tmp_path / "copy", shapes)
    write_checkpoint(path, whole.tensors(), {**whole.facts, "trainer": "classify"})
    with pytest.raises(autotune.CheckpointError, match="'classify' made this model"):
        compare(tmp_path / "copy", shapes)
    with pytest.raises(autotune.UsageError, match="give numbers of 1 or more"):
        compare(anil, shapes, shots=(0,))


def test_the_command_needs_no_word_for_learning(shapes: Path, name: str, tmp_path: Path) -> None:
    """``autotune metalearn DATA --method ... --out ...`` learns, and a taken folder is an error before any work."""
    words = [str(shapes), "--method", "anil", "--out", str(tmp_path / "out"), "--backbone", name, "--device", "cpu"]
    words += [f"--{key.replace('_', '-')}={value}" for key, value in QUICK.items()]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "27 classes learned from, 4 to choose by, 9 kept for measuring" in done.output
    assert f"a backbone now: study:{tmp_path / 'out'}" in done.output
    with pytest.raises(autotune.UsageError, match="not an empty folder"):
        CliRunner().invoke(command, words, catch_exceptions=False)


def test_listing_the_plugin_imports_no_torch() -> None:
    """The hook and the command's help are quick."""
    code = (
        "import sys, autotune_metalearn as p; list(p.autotune_backbones());"
        "from autotune_metalearn.command import command;"
        "command.main(['--help'], standalone_mode=False);"
        "print([m for m in ('torch', 'timm', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


class _Scripted:
    """A learner whose accuracy is written down."""

    def __init__(self, accuracies: Mapping[int, float]) -> None:
        self.known, self.at = accuracies, 0

    def step(self, number: int) -> None:
        """Goes on."""
        self.at = number + 1

    def accuracies(self, episodes: Episodes) -> torch.Tensor:
        """What is written down for this step."""
        return torch.full((len(episodes),), self.known[self.at])

    def state(self) -> Mapping[str, torch.Tensor]:
        """The step."""
        return {"at": torch.tensor(self.at)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Goes back."""
        self.at = int(state["at"])

    def result(self) -> torch.nn.Module:
        """Nothing."""
        return torch.nn.Identity()


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [({0: 0.5, 1: 0.7, 2: 0.9, 3: 0.8}, 2), ({0: 0.5, 1: 0.5, 2: 0.4, 3: 0.5}, 0)],
)
def test_the_best_look_is_kept(accuracies: dict[int, float], best: int, sides: Sides) -> None:
    """The state of the best look is left, and the start where nothing was better."""
    learner = _Scripted(accuracies)
    episodes = Drawer(sides.val.split.labels).draw(5, ways=3, shots=1, queries=1, seed=0)
    told: list[int] = []
    curve = climb(learner, episodes, 3, lambda look: told.append(look.step))
    assert [look.step for look in curve] == told == [0, 1, 2, 3]
    assert learner.at == best
