"""Signals and sudden deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import autotune
from autotune.engine import claim, run_search
from autotune.engine.search import read
from autotune.errors import Interrupted, StudyError

CHILD = """
import sys, time
from pathlib import Path
from autotune.builtin import toy
from autotune.config import StudyConfig
from autotune.engine import run_search
from autotune.errors import AutotuneError
from autotune.plan import resolve
from autotune.plugins import Plugins
from autotune.testing import MemorySource, tiny_images
import autotune

class Plugin:
    @autotune.hookimpl
    def autotune_data_sources(self):
        images, labels = tiny_images(3, 24)
        source = MemorySource(list(images), [f"class-{label}" for label in labels])
        return [autotune.DataSourceSpec(
            name="tiny", summary="s", accepts=lambda where: where == "tiny", open=lambda where: source)]

plugins = Plugins()
plugins.register(Plugin(), "tiny")
plugins.register(toy, "toy")
config = StudyConfig(
    data="tiny", trainer="toy", name="study", trials=2, epochs=8, pruner=sys.argv[4],
    fixed={"sleep": float(sys.argv[2]), "together": int(sys.argv[3])})
try:
    run_search(resolve(config, plugins, runs=Path(sys.argv[1])))
except AutotuneError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def start(runs: Path, sleep: float = 0.4, together: int = 1, pruner: str = "none") -> subprocess.Popen[str]:
    """Starts a search in another process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(runs), str(sleep), str(together), pruner],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def wait_for(path: Path, pattern: str) -> None:
    """Waits until a file is there."""
    begin = time.monotonic()
    while not list(path.glob(pattern)):
        assert time.monotonic() - begin < 60, f"no {pattern}"
        time.sleep(0.01)


def tensors(study: autotune.Study) -> list[dict[str, np.ndarray]]:
    """The last checkpoints of the leader."""
    return [autotune.read_checkpoint(study.path / study.leader.curve[-1].checkpoint).tensors()]


def finished(plan, runs: Path, together: int = 1, pruner: str = "none") -> autotune.Study:
    """The same study, run (on) in this process."""
    fixed = {"sleep": 0.4, "together": together}
    return run_search(plan(runs=runs, trainer="toy", trials=2, epochs=8, pruner=pruner, fixed=fixed))


def alike(a: autotune.Study, b: autotune.Study) -> None:
    """Two studies have the same trials, curves and weights, bit by bit."""
    assert [(t.recipe, t.seed, [(p.at, p.metrics) for p in t.curve]) for t in a.trials] == [
        (t.recipe, t.seed, [(p.at, p.metrics) for p in t.curve]) for t in b.trials
    ]
    for one, other in zip(tensors(a), tensors(b), strict=True):
        assert one.keys() == other.keys()
        assert all((one[name] == other[name]).all() for name in one)


@pytest.mark.slow
def test_after_kill_9_the_trial_ends_with_the_same_weights(plan, tmp_path):
    """A search killed in the middle of a trial goes on, and ends like one that was left alone."""
    child = start(tmp_path / "a")
    wait_for(tmp_path / "a" / "study" / "trials" / "00000" / "attempt-1", "checkpoint-3.json")
    time.sleep(0.2)
    child.kill()
    child.communicate()
    study = finished(plan, tmp_path / "a")
    assert study.trials[0].attempts == 2
    alike(study, finished(plan, tmp_path / "b"))


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["none", "halving"])
@pytest.mark.parametrize("epoch", [2, 3, 6])
def test_after_kill_9_a_batch_goes_on_together(plan, tmp_path, epoch, pruner):
    """Killed while a batch saves an epoch, every member goes on from its checkpoint, and ends as if left alone."""
    child = start(tmp_path / "a", together=6, pruner=pruner)
    trials = tmp_path / "a" / "study" / "trials"
    wait_for(trials / "00003" / "attempt-1", f"checkpoint-{epoch}.json")
    child.kill()
    child.communicate()
    study = finished(plan, tmp_path / "a", together=6, pruner=pruner)
    assert [t.batch for t in study.trials] == [0] * 6 + [6] * 6
    assert max(t.attempts for t in study.trials[:6]) == 2
    assert {t.attempts for t in study.trials[6:]} == {1}
    alike(study, finished(plan, tmp_path / "b", together=6, pruner=pruner))


def test_sigterm_saves_and_says_how_to_go_on(plan, tmp_path):
    """SIGTERM ends the search after the batch with the code that asks for a requeue; the trial waits."""
    child = start(tmp_path, sleep=0.3)
    folder = tmp_path / "study"
    wait_for(folder / "trials" / "00000" / "attempt-1", "checkpoint-2.json")
    begin = time.monotonic()
    child.send_signal(signal.SIGTERM)
    _, told = child.communicate(timeout=20)
    assert time.monotonic() - begin < 5
    assert child.returncode == 75
    assert "stopped by SIGTERM; everything is saved" in told
    assert f"autotune search {folder}" in told
    study = read(folder, plan(name="other", trials=1).plugins)
    assert study.state == "open"
    assert study.trials[0].state == "running"
    assert study.trials[0].reason.startswith("waits: SIGTERM came at epoch")
    assert len(study.trials[0].curve) >= 2


def test_ctrl_c_once_pauses_and_the_handlers_come_back(plan, fake_fit):
    """Ctrl-C lets the trainer stop after the batch; then the handlers are those from before."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def fit(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            if epoch.at == 2 and run.resume is None:
                signal.raise_signal(signal.SIGINT)
            yield epoch

    with pytest.raises(Interrupted, match="stopped by SIGINT"):
        run_search(plan(fit, trials=1, epochs=4))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    study = run_search(plan(fit, trials=1, epochs=4))
    assert [p.at for p in study.trials[0].curve] == [1, 2, 3, 4]
    assert study.trials[0].attempts == 2
    assert study.trials[0].reason is None


def test_ctrl_c_twice_stops_at_once(plan):
    """The second Ctrl-C does not wait for the trainer."""

    def fit(recipe, data, run):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("never reached")
        yield

    with pytest.raises(Interrupted, match="at once"):
        run_search(plan(fit, trials=1, epochs=4))
    assert run_search(plan(trials=1, epochs=4)).trials[0].state == "complete"


def test_a_second_process_is_refused(plan, tmp_path):
    """While one process searches, another one is told so, with its number; when it has died the folder is free."""
    code = (
        "import sys, time; from pathlib import Path; from autotune.engine.lock import claim\n"
        "with claim(Path(sys.argv[1])):\n print('held', flush=True); time.sleep(60)"
    )
    made = plan(trials=1, epochs=1)
    made.path.mkdir()
    child = subprocess.Popen([sys.executable, "-c", code, str(made.path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(StudyError, match=rf"another process \({child.pid}\) is searching here"):
        run_search(made)
    child.kill()
    child.communicate()
    assert run_search(made).state == "done"


def test_a_claim_leaves_nothing_where_no_study_came_of_it(tmp_path):
    """A folder that was only claimed is gone afterwards, and one process may claim a folder twice."""
    folder = tmp_path / "study"
    folder.mkdir()
    with claim(folder), claim(folder):
        assert (folder / "lock").exists()
    assert not folder.exists()


def test_a_torn_journal_is_mended(plan):
    """A last line that a crash tore is cut off, and a lock that a killed writer left does not hold things up."""
    made = plan(trials=1, epochs=1)
    run_search(made)
    with (made.path / "journal.log").open("a") as file:
        file.write('{"op_code":4,"wor')
    (made.path / "journal.log.lock").symlink_to("journal.log")
    begin = time.monotonic()
    study = run_search(plan(trials=3, epochs=1))
    assert [t.state for t in study.trials] == ["complete"] * 3
    assert time.monotonic() - begin < 10


def test_a_journal_damaged_further_up_is_an_error(plan):
    """Damage before the last line is said, with the file's name."""
    made = plan(trials=1, epochs=1)
    run_search(made)
    path = made.path / "journal.log"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:9], *lines[3:]]) + "\n")
    with pytest.raises(StudyError, match=r"journal\.log: the journal is damaged"):
        run_search(plan(trials=2, epochs=1))


def test_a_trial_that_died_between_its_steps_goes_on(plan, monkeypatch):
    """Wherever a search dies while it takes a trial, the next call brings the same trials as an undisturbed one."""
    from autotune.engine import turns
    from autotune.engine.recipes import TrialPlan

    whole = run_search(plan(trials=3, epochs=1))
    told = [(t.sampled, t.seed) for t in whole.trials]

    class Death(BaseException):
        pass

    def die(*_):
        raise Death

    for owner, name in [(turns.attempt, "claim_trial"), (TrialPlan, "write"), (turns, "suggest")]:
        made = plan(name=f"study-{name}", trials=3, epochs=1)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, die)
            with pytest.raises(Death):
                run_search(made)
        assert [(t.sampled, t.seed) for t in run_search(made).trials] == told
