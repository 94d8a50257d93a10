"""Batches that are interrupted, and go on together."""

from __future__ import annotations

import signal
import time

import optuna
import pytest

import autotune
from autotune.engine import drawing, run_search
from autotune.engine.context import COPY_OF
from autotune.engine.recipes import TrialPlan
from autotune.engine.search import read
from autotune.engine.storage import open_journal
from autotune.errors import Interrupted

SAME = ("n",)


def curves(study):
    """What every trial was, and what became of it."""
    return [
        (t.number, t.batch, t.state, t.seed, t.recipe, [(p.at, p.metrics) for p in t.curve], t.reason)
        for t in study.trials
    ]


def weights(study):
    """The last tensors of the best trials, bit by bit."""
    best = sorted(study.trials, key=lambda t: -(t.value or 0))[:3]
    paths = [study.path / t.curve[-1].checkpoint for t in best if t.curve[-1].checkpoint]
    assert paths
    return [{n: v.tobytes() for n, v in autotune.read_checkpoint(path).tensors().items()} for path in paths]


def searched(study):
    """What the sampler knows."""
    return open_journal(study.path, study.objective).search.get_trials(deepcopy=False)


@pytest.mark.parametrize("pruner", ["none", "halving"])
def test_ctrl_c_pauses_all_and_all_go_on_together(plan, fake_many, tmp_path, pruner):
    """After a signal every member waits; the next call resumes them, and ends as if nothing had been."""

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            if runs[0].resume is None and max(e.at for e in told.values()) == 2 and stop:
                signal.raise_signal(signal.SIGINT)
            yield told

    stop = True
    kind = {"many": many, "batch": 6, "same": SAME, "trials": 2, "epochs": 4, "pruner": pruner}
    with pytest.raises(Interrupted, match="stopped by SIGINT"):
        run_search(plan(runs=tmp_path / "a", **kind))
    study = read(tmp_path / "a" / "study", plan(name="other", trials=1).plugins)
    assert [(t.state, t.reason) for t in study.trials] == [("running", "waits: SIGINT came at epoch 2 of 4")] * 6
    stop = False
    study = run_search(plan(runs=tmp_path / "a", **kind))
    assert [t.attempts for t in study.trials] == [2] * 6 + [1] * 6
    whole = run_search(plan(runs=tmp_path / "b", **kind))
    assert curves(study) == curves(whole)
    assert weights(study) == weights(whole)


def test_the_deadline_cuts_all(plan, fake_many, monkeypatch):
    """When the time is up every member waits with what it has."""
    monkeypatch.setattr(drawing, "FULL", 3.0)

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            time.sleep(0.2)
            yield told

    study = run_search(plan(many=many, batch=4, same=SAME, time=3.0, epochs=500, pruner="none"))
    assert study.state == "done"
    assert [t.state for t in study.trials] == ["running"] * 4
    assert all("the time ran out" in t.reason and t.curve for t in study.trials)


class Death(BaseException):
    """The end of a process."""


def test_who_is_ahead_goes_back_to_the_others(plan, fake_many, tmp_path):
    """Killed while an epoch was recorded, or with a checkpoint lost, all resume at one epoch, and end the same."""
    died = []

    def many(recipes, data, runs):
        starts = {0.0 if run.resume is None else run.resume.facts["epochs_done"] for run in runs}
        assert len(starts) == 1
        died.append((len(runs), starts.pop()))
        yield from fake_many(recipes, data, runs)

    kind = {"many": many, "batch": 5, "same": SAME, "trials": 1, "epochs": 5, "pruner": "none"}
    from autotune.engine import working

    real, count = working.attempt.add_point, []

    def recording(folder, point, **more):
        count.append(point)
        if len(count) == 18:  # three epochs of five, and three points of the fourth
            raise Death
        real(folder, point, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(working.attempt, "add_point", recording)
        with pytest.raises(Death):
            run_search(plan(runs=tmp_path / "a", **kind))
    lost = tmp_path / "a" / "study" / "trials" / "00003" / "attempt-1" / "checkpoint-3.safetensors"
    lost.write_bytes(b"cut")
    study = run_search(plan(runs=tmp_path / "a", **kind))
    assert died == [(5, 0.0), (5, 2.0)]
    assert any("its bytes are not those" in note for note in study.trials[3].notes)
    whole = run_search(plan(runs=tmp_path / "b", **kind))
    assert curves(study) == curves(whole)
    assert weights(study) == weights(whole)


def test_who_has_nothing_to_go_on_from_is_trained_apart(plan, fake_many, tmp_path, monkeypatch):
    """A member that lost all its checkpoints begins anew; the others wait for it and then go on from theirs."""
    from autotune.engine import taking

    monkeypatch.setattr(taking, "SETTLE", 0.0)
    died = []

    def many(recipes, data, runs):
        start = 0.0 if runs[0].resume is None else runs[0].resume.facts["epochs_done"]
        died.append((len(runs), start))
        for told in fake_many(recipes, data, runs):
            if len(died) == 1 and told[0].at == 3:
                raise Death
            yield told

    kind = {"many": many, "batch": 3, "same": SAME, "trials": 1, "epochs": 4, "pruner": "none"}
    with pytest.raises(Death):
        run_search(plan(runs=tmp_path / "a", **kind))
    for path in (tmp_path / "a" / "study" / "trials" / "00001" / "attempt-1").glob("checkpoint-*"):
        path.unlink()
    study = run_search(plan(runs=tmp_path / "a", **kind))
    assert died == [(3, 0.0), (1, 0.0), (2, 2.0)]
    died.append("whole")
    assert curves(study) == curves(run_search(plan(runs=tmp_path / "b", **kind)))


@pytest.mark.parametrize(
    "where", ["claim_trial", "write", "add_trial", "begin", "finish", "conclude", "thin_study", "copy", "told"]
)
def test_a_batch_that_died_between_its_steps_goes_on(plan, tmp_path, where):
    """Wherever a search dies while it makes, ends or tells of a batch, the next call ends like an undisturbed one."""
    from autotune.engine import batch, concluding, taking, working

    # a folder that a death left behind takes a number, and by its number a loser goes on as an audit
    pruner = "none" if where in ("write", "add_trial") else "halving"
    kind = {"batch": 4, "same": SAME, "trials": 2, "epochs": 4, "pruner": pruner}
    owner, name, survives = {
        "claim_trial": (batch.attempt, "claim_trial", 2),
        "write": (TrialPlan, "write", 2),
        "add_trial": (optuna.Study, "add_trial", 1),
        "begin": (taking.attempt, "begin", 2),
        "finish": (working.attempt, "finish", 1),
        "conclude": (working, "conclude", 0),
        "thin_study": (concluding, "thin_study", 0),
        "copy": (batch, "_copy", 1),
        "told": (optuna.Study, "tell", 2),
    }[where]
    real, left = getattr(owner, name), [survives]

    def dying(*args, **more):
        if not left[0]:
            raise Death
        left[0] -= 1
        return real(*args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Death):
            run_search(plan(runs=tmp_path / "a", **kind))
    study = run_search(plan(runs=tmp_path / "a", **kind))
    whole = run_search(plan(runs=tmp_path / "b", **kind))

    def told(found):
        place = {t.number: i for i, t in enumerate(found.trials)}
        return [
            (place.get(t.batch), t.state, t.seed, t.recipe, [(p.at, p.metrics) for p in t.curve]) for t in found.trials
        ]

    assert told(study) == told(whole)
    copies = [[t.params for t in searched(s) if COPY_OF in t.user_attrs] for s in (study, whole)]
    assert copies[0] == copies[1]


def test_what_the_disk_is_known_to_have_is_kept(plan, fake_many, monkeypatch):
    """While a batch runs, each keeps its newest two checkpoints, its best, and the newest that was waited for."""
    from autotune.engine import taking

    held = []

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            monkeypatch.setattr(taking, "SETTLE", 0.0 if told[0].at == 2 else 1e9)
            yield told
            held.append([sorted(path.name for path in run.folder.glob("*.safetensors")) for run in runs])

    run_search(plan(many=many, batch=3, same=SAME, trials=1, epochs=6, pruner="none"))
    assert held[4] == [[f"checkpoint-{n}.safetensors" for n in (2, 4, 5)]] * 3


def test_a_member_whose_recipe_is_refused_fails_alone(plan, fake_many):
    """A member that the trainer takes no longer fails with the reason; the others go on, and so do later calls."""

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            yield told
            raise Death

    kind = {"batch": 4, "same": SAME, "epochs": 3, "pruner": "none"}
    made = plan(many=many, trials=1, **kind)
    with pytest.raises(Death):
        run_search(made)
    recipe = made.path / "trials" / "00002" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("[recipe]\n", "[recipe]\nodd = 1\n"))
    study = run_search(plan(trials=1, **kind))
    assert [t.state for t in study.trials] == ["complete", "complete", "failed", "complete"]
    failure = study.trials[2].failure
    assert failure.kind == "plugin"
    assert "the recipe is refused: " in failure.reason
    assert "odd" in failure.reason
    assert len(run_search(plan(trials=2, **kind)).trials) == 8


def test_copies_that_a_death_left_out_are_made_up(plan, monkeypatch):
    """Of every batch that ended, the next call tells the sampler; it looks at the study once for all of them."""
    from autotune.engine import working
    from autotune.engine.context import Context

    kind = {"batch": 4, "same": SAME, "epochs": 2, "pruner": "none"}
    monkeypatch.setattr(working, "share", lambda *_: None)
    study = run_search(plan(trials=3, **kind))
    assert not [t for t in searched(study) if COPY_OF in t.user_attrs]
    monkeypatch.undo()
    looked = []

    def taking(context, study=Context.study):
        looked.append(context)
        return study(context)

    monkeypatch.setattr(Context, "study", taking)
    monkeypatch.setattr("autotune.engine.search._loop", lambda *_: "enough")
    run_search(plan(trials=4, **kind))
    copies = [t.user_attrs[COPY_OF] for t in searched(study) if COPY_OF in t.user_attrs]
    assert sorted(copies) == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert len(looked) == 3  # before, for the copies, and at the end
