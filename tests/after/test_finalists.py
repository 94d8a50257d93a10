"""Who may be the best."""

from __future__ import annotations

from pathlib import Path

import pytest

import autotune
from autotune.after.finalists import finalists
from autotune.objective import Goal, Limit, Objective


def point(folder: Path, trial: int, at: int, *, saved: bool = True, **metrics: float) -> autotune.Point:
    """An epoch, its checkpoint in place."""
    name = f"trials/{trial:05d}/attempt-1/checkpoint-{at}.safetensors"
    if saved:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return autotune.Point(at=at, metrics=metrics, images=1, seconds=1.0, checkpoint=name)


def study_of(folder: Path, *curves: tuple[autotune.Point, ...], limits: tuple[Limit, ...] = ()) -> autotune.Study:
    """A study with a trial for each curve."""
    trials = tuple(
        autotune.Trial(number=i, state="complete", curve=curve, value=max(p.metrics["accuracy"] for p in curve))
        for i, curve in enumerate(curves)
    )
    return autotune.Study(
        name="x",
        path=folder,
        state="done",
        objective=Objective((Goal.of("accuracy"),), limits),
        trials=trials,
        best=None,
        config={},
        spent=0.0,
    )


def test_the_best_come_first(tmp_path):
    """Three trials at most, the best on val first, each at its own best epoch."""
    curves = [(point(tmp_path, i, 1, accuracy=a), point(tmp_path, i, 2, accuracy=a - 0.1)) for i, a in
              enumerate([0.6, 0.9, 0.7, 0.8])]  # fmt: skip
    found = finalists(study_of(tmp_path, *curves))
    assert [f.trial.number for f in found] == [1, 3, 2]
    assert [f.point.at for f in found] == [1, 1, 1]


def test_equals_stay_in_order(tmp_path):
    """Of equal trials the first comes first, so that a study repeats."""
    curves = [(point(tmp_path, i, 1, accuracy=0.5),) for i in range(3)]
    assert [f.trial.number for f in finalists(study_of(tmp_path, *curves))] == [0, 1, 2]


def test_epochs_without_a_file_do_not_count(tmp_path):
    """A checkpoint that is gone cannot be handed back; the trial's next best epoch stands in for it."""
    curve = (point(tmp_path, 0, 1, accuracy=0.8), point(tmp_path, 0, 2, accuracy=0.9, saved=False))
    (found,) = finalists(study_of(tmp_path, curve))
    assert found.point.at == 1
    assert not finalists(study_of(tmp_path, (point(tmp_path, 1, 1, accuracy=0.9, saved=False),)))


def test_limits_come_before_scores(tmp_path):
    """An epoch beyond a limit is behind every one that keeps it."""
    curves = [
        (point(tmp_path, 0, 1, accuracy=0.9, log_loss=2.0),),
        (point(tmp_path, 1, 1, accuracy=0.6, log_loss=0.5),),
    ]
    found = finalists(study_of(tmp_path, *curves, limits=(Limit("log_loss", 1.0),)))
    assert [f.trial.number for f in found] == [1, 0]


def test_marks_tell_epochs_apart(tmp_path):
    """Two epochs of one trial have different marks."""
    first = finalists(study_of(tmp_path, (point(tmp_path, 0, 1, accuracy=0.5),)))[0]
    second = finalists(study_of(tmp_path, (point(tmp_path, 0, 2, accuracy=0.5),)))[0]
    assert first.mark != second.mark


@pytest.mark.parametrize("state", ["failed", "running"])
def test_a_trial_without_a_score_is_no_finalist(tmp_path, state):
    """Failed trials have no score and are never handed back."""
    study = study_of(tmp_path, (point(tmp_path, 0, 1, accuracy=0.5),))
    bare = autotune.Trial(number=0, state=state, curve=study.trials[0].curve)
    assert not finalists(
        autotune.Study(**{f: getattr(study, f) for f in study.__dataclass_fields__} | {"trials": (bare,)})
    )
