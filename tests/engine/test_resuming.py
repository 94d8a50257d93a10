"""Checkpoints are looked at while nobody has to wait for it."""

from __future__ import annotations

import threading

import pytest

from autotune import Epoch
from autotune.checkpoint import Checkpoint
from autotune.engine import Clock, at_work, checkpoints, resuming, run_search, run_worker
from autotune.engine.search import read
from autotune.engine.study_lock import NAME, PATIENCE


class Death(BaseException):
    """The end of a process."""


def test_epochs_that_are_trained_again_are_no_progress(plan, fake_fit):
    """A trial that saves nothing and kills its worker in the second epoch each time is lost like any other."""

    def fit(recipe, data, run):
        if run.trial == 0:
            yield Epoch(at=1, images=10, metrics={"accuracy": 0.5, "cost": 1.0})
            raise Death
        yield from fake_fit(recipe, data, run)

    kind = {"trials": 2, "epochs": 3, "pruner": "none", "retries": 2}
    for _ in range(4):  # the first brings an epoch, three are deaths in a row
        with pytest.raises(Death):
            run_search(plan(fit, **kind))
    lost, other = run_search(plan(fit, **kind)).trials
    assert (lost.state, lost.attempts, other.state) == ("failed", 4, "complete")
    assert (lost.failure.kind, lost.failure.reason) == ("lost", "3 attempts in a row died without a new epoch")


def test_every_new_epoch_is_progress(plan, fake_fit):
    """However often a worker dies, a trial goes on as long as each attempt gets further."""

    def fit(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            yield epoch
            raise Death

    kind = {"trials": 1, "epochs": 5, "pruner": "none", "retries": 0}
    for _ in range(5):
        with pytest.raises(Death):
            run_search(plan(fit, **kind))
    assert [(t.state, t.attempts) for t in run_search(plan(fit, **kind)).trials] == [("complete", 5)]


@pytest.fixture
def looked(monkeypatch, tmp_path):
    """What was looked at, by name, and who had the study's lock then."""
    seen = []

    def look(checkpoint: Checkpoint) -> str | None:
        tokens = [path.name for path in (tmp_path / "study" / NAME).iterdir()]
        seen.append((checkpoint.path.parent.parent.name, checkpoint.path.name, tokens))
        return checkpoints.damage(checkpoint)

    monkeypatch.setattr(resuming, "damage", look)
    return seen


def test_nobody_has_the_lock_while_a_checkpoint_is_looked_at(plan, fake_fit, looked, tmp_path):
    """A large one takes longer than the lock may be held; each is looked at once, an older one if the newest is cut."""

    def dying(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            yield epoch
            if epoch.at == 3:
                raise Death

    kind = {"trials": 1, "epochs": 4, "pruner": "none"}
    with pytest.raises(Death):
        run_search(plan(dying, **kind))
    assert looked == []
    (tmp_path / "study/trials/00000/attempt-1/checkpoint-3.safetensors").write_bytes(b"cut")
    study = run_search(plan(**kind))
    names = ("checkpoint-3.safetensors", "checkpoint-2.safetensors")
    assert looked == [("00000", name, ["free"]) for name in names]
    assert [(t.state, t.attempts) for t in study.trials] == [("complete", 2)]
    assert any("an older one is used" in note for note in study.trials[0].notes)


def test_nor_while_those_of_a_batch_are(plan, fake_many, looked):
    """All of a batch are looked at in one go."""

    def dying(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            yield told
            raise Death

    kind = {"batch": 4, "same": ("n",), "trials": 1, "epochs": 2, "pruner": "none"}
    with pytest.raises(Death):
        run_search(plan(many=dying, **kind))
    study = run_search(plan(**kind))
    assert looked == [(f"{number:05d}", "checkpoint-1.safetensors", ["free"]) for number in range(4)]
    assert {(t.state, t.attempts) for t in study.trials} == {("complete", 2)}


def test_nor_while_the_leaders_is(plan, fake_fit, looked, monkeypatch, tmp_path):
    """A trial that continues the leader is not there yet: for all one knows, the time ends meanwhile."""
    monkeypatch.setattr("autotune.engine.taking.nearly_over", lambda *_: True)
    look, trials = resuming.damage, []

    def counting(checkpoint):
        trials.extend(path.name for path in (tmp_path / "study/trials").iterdir())
        return look(checkpoint)

    def fit(recipe, data, run):
        if run.epochs > 2:
            assert run.resume is not None
            raise KeyboardInterrupt
        yield from fake_fit(recipe, data, run)

    monkeypatch.setattr(resuming, "damage", counting)
    with pytest.raises(KeyboardInterrupt):
        run_search(plan(fit, time=60.0, epochs=2, first=[{"x": 1.0}], pruner="none"))
    assert looked == [("00000", "checkpoint-2.safetensors", ["free"])]
    assert trials == ["00000"]


def test_two_who_look_at_once(plan, fake_fit, looked, monkeypatch, tmp_path):
    """Several workers may look at what a dead one left; one takes it over, the others go on with something else."""
    both, look = threading.Barrier(2, timeout=PATIENCE / 2), resuming.damage  # sooner than a hold is broken
    monkeypatch.setattr(resuming, "damage", lambda checkpoint: (both.wait(), look(checkpoint))[1])
    died = []

    def fit(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            yield epoch
            if not died:
                died.append(True)
                raise Death

    kind = {"trials": 5, "epochs": 3, "pruner": "none"}
    with pytest.raises(Death):
        run_search(plan(fit, **kind))
    left = []

    def work():
        made = plan(fit, **kind)
        with at_work(made, Clock(made.path)) as call:
            left.append(run_worker(call))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert left == ["all 5 trials are done"] * 2
    study = read(tmp_path / "study", plan(fit, **kind).plugins)
    assert [(t.state, t.attempts) for t in study.trials] == [("complete", 2)] + [("complete", 1)] * 4
    assert len(looked) == 2
