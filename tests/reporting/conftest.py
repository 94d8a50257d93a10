"""Studies to report on: one searched for real, and one with every kind of ending, written by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import autotune
from autotune.objective import Goal, Objective


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        runs = tmp_path_factory.mktemp("runs")
        return autotune.search("digits", trainer="toy", trials=4, epochs=4, runs=runs).path


@pytest.fixture
def study(_finished: Path, tmp_path: Path) -> autotune.Study:
    """A finished study on digits."""
    return autotune.open(shutil.copytree(_finished, tmp_path / "runs" / "digits"))


def trial(number: int, state: str, score: float | None, **recipe: object) -> autotune.Trial:
    """A trial with one epoch, or none where it has no score."""
    metrics = {} if score is None else {"accuracy": score}
    curve = () if score is None else (autotune.Point(at=2.0, metrics=metrics, images=100, seconds=4.0),)
    failure = autotune.Failure(kind="oom", reason="8 GiB | are not enough") if state == "failed" else None
    reason = "at epoch 2 it ranks 3 of 4" if state == "pruned" else None
    return autotune.Trial(
        number=number, state=state, curve=curve, value=score, metrics=metrics, failure=failure, reason=reason,
        recipe=recipe, sampled=recipe, seconds=10.0 + number,
    )  # fmt: skip


@pytest.fixture
def mixed(tmp_path: Path) -> autotune.Study:
    """A study with complete, pruned, failed and running trials, and no best model yet."""
    return autotune.Study(
        name="mixed",
        path=tmp_path,
        state="open",
        objective=Objective((Goal.of("accuracy"),)),
        trials=(
            trial(0, "complete", 0.8, backbone="timm/a", lr=0.001, drop=0.1),
            trial(1, "complete", 0.9, backbone="timm/b", lr=0.01, drop=0.1),
            trial(2, "pruned", 0.5, backbone="timm/a", lr=0.1, drop=0.1),
            trial(3, "failed", None, backbone="timm/b", lr=0.2, drop=0.1),
            trial(4, "running", 0.7, backbone="timm/b", lr=0.03, drop=0.1),
        ),
        best=None,
        config={"data": "images/", "made": {"reasons": ["img_size 96: the images are small"], "found": ["12 images"]}},
        spent=100.0,
        time=900.0,
        wanted=None,
    )
