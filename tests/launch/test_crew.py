"""Crews: what options ask for, and what is said when workers cannot work."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from autotune import Launcher, LauncherSpec, WorkerState, WorkerStatus, hookimpl
from autotune.builtin import toy
from autotune.builtin.toy.trainer import ToyTrainer
from autotune.config import StudyConfig
from autotune.engine import Clock, at_work, claim, run_worker
from autotune.errors import PluginError, StudyError, UsageError
from autotune.launch import Crew, run_crew
from autotune.plan import resolve
from autotune.plugins import Plugins
from autotune.testing import tiny_folder


class Doomed(Launcher):
    """Starts workers that cannot work."""

    def submit(self, spec, n, key):
        """Leaves what they said."""
        self.count = n
        spec.log_dir.mkdir()
        (spec.log_dir / "worker-0.log").write_text("trial 0: lr=1\nerror: there is no GPU 7\n  name another one\n")
        return key

    def poll(self, group):
        """All have failed."""
        return [WorkerStatus(index=i, state=WorkerState.FAILED) for i in range(self.count)]

    def cancel(self, group, index=None):
        """Never asked, for nobody runs."""
        raise RuntimeError("cancelled")


class Offering:
    """Offers a launcher."""

    def __init__(self, name, build):
        self.name, self.build = name, build

    @hookimpl
    def autotune_launchers(self):
        """Offers it."""
        return [LauncherSpec(name=self.name, summary="For tests.", build=self.build)]


@pytest.fixture
def plan(tmp_path):
    """A plan for a study of tiny images."""
    from autotune.builtin import folders, local

    plugins = Plugins()
    for number, plugin in enumerate((toy, folders, local, Offering("doomed", Doomed))):
        plugins.register(plugin, f"plugin-{number}")
    config = StudyConfig(data=str(tiny_folder(tmp_path / "images")), trainer="toy", name="study", trials=2, epochs=1)
    return resolve(config, plugins, runs=tmp_path)


def test_workers_that_cannot_work_are_said(plan):
    """Where all workers end before the study is done, the error says what one of them said, and where to look."""
    plan.write()
    with claim(plan.path), pytest.raises(StudyError) as caught:
        run_crew(plan, Crew(workers=3, launcher="doomed"), Clock(plan.path))
    assert "all 3 workers have ended before the study was done; worker-0 says: there is no GPU 7" in str(caught.value)
    assert "workers/worker-*.log" in caught.value.hint


def test_workers_are_told_where_caches_lie_and_to_stay_offline(plan, monkeypatch):
    """A worker of another machine knows nothing but this; of the rest of the environment it is told nothing."""
    given = {
        "XDG_CACHE_HOME": "/caches",
        "HF_HOME": "/caches/hf",
        "TORCH_HOME": "/caches/torch",
        "HF_HUB_OFFLINE": "1",
        "AUTOTUNE_MAX_PIXELS": "1000000",
    }
    told = []

    class Noting(Doomed):
        """Notes what it is told."""

        def submit(self, spec, n, key):
            """Notes it."""
            told.append(dict(spec.env))
            return super().submit(spec, n, key)

    for name in list(os.environ):
        if name.startswith("AUTOTUNE_") and name != "AUTOTUNE_CACHE_DIR":
            monkeypatch.delenv(name)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    for name, value in {**given, "SECRET": "x"}.items():
        monkeypatch.setenv(name, value)
    plan.plugins.register(Offering("noting", Noting), "noting")
    plan.write()
    with claim(plan.path), pytest.raises(StudyError, match="have ended before"):
        run_crew(plan, Crew(workers=1, launcher="noting"), Clock(plan.path))
    (env,) = told
    assert env.keys() == {*given, "AUTOTUNE_CACHE_DIR", "AUTOTUNE_LAUNCHED_BY"}
    assert {name: env[name] for name in given} == given


@pytest.mark.parametrize(("new", "said"), [("", ""), ("error: it burns\n", "; worker-1 says: it burns")])
def test_what_earlier_workers_said_is_passed_over(plan, new, said):
    """A worker that died without a word has not said what stands in its log from before."""

    class Terse(Doomed):
        """Starts workers of which one says something, or none."""

        def submit(self, spec, n, key):
            """Adds it to what stands in the log."""
            with (spec.log_dir / "worker-1.log").open("a") as log:
                log.write(new)
            self.count = n
            return key

    plan.plugins.register(Offering("terse", Terse), "terse")
    plan.write()
    logs = plan.path / "workers"
    logs.mkdir()
    for index in range(2):
        (logs / f"worker-{index}.log").write_text("error: no room\n")
    os.utime(logs / "worker-0.log", (2**32, 2**32))
    with claim(plan.path), pytest.raises(StudyError) as caught:
        run_crew(plan, Crew(workers=2, launcher="terse"), Clock(plan.path))
    assert caught.value.message.endswith(f"before the study was done{said}")


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: 1 / 0, "launcher 'odd' cannot be built: ZeroDivisionError: division by zero"),
        (dict, "launcher 'odd': build returned dict, not an autotune.Launcher"),
    ],
)
def test_launchers_that_are_none(plan, build, said):
    """It is said which launcher it is, before the study is set up."""
    plan.plugins.register(Offering("odd", build), "odd")
    plan.write()
    with claim(plan.path), pytest.raises(PluginError) as caught:
        run_crew(plan, Crew(workers=1, launcher="odd"), Clock(plan.path))
    assert caught.value.message == said
    assert not (plan.path / "journal.log").exists()


def test_gpus_and_a_device_that_is_none_of_them(plan):
    """A study on one device cannot have its workers on others."""
    plan = replace(plan, config=plan.config.model_copy(update={"device": "cpu"}))
    with pytest.raises(UsageError, match=r"device = cpu contradicts --gpus 0,1"):
        Crew(workers=2, gpus=("0", "1")).check(plan)


def test_gpus_for_a_trainer_that_uses_none(plan):
    """A trainer that only computes on the CPU would leave the GPUs idle."""
    with pytest.raises(UsageError, match=r"--gpus 0: trainer 'toy' uses no GPU") as caught:
        Crew(workers=1, gpus=("0",)).check(plan)
    assert caught.value.hint == "say --workers 1"


def test_gpus_where_there_are_none(plan):
    """What the trainer says of the machine is said, with what to do instead."""

    def device(name):
        raise UsageError(f"device={name!r}: this machine has 0 CUDA devices")

    plan = replace(plan, trainer=replace(plan.trainer, device=device))
    with pytest.raises(UsageError, match=r"--gpus 0,1: device='cuda': this machine has 0 CUDA devices") as caught:
        Crew(workers=4, gpus=("0", "1")).check(plan)
    assert "--workers 4" in caught.value.hint
    Crew(workers=4, gpus=("0", "1")).check(replace(plan, trainer=replace(plan.trainer, device=lambda name: "cuda:0")))
    Crew(workers=4, gpus=("0", "1"), launcher="doomed").check(plan)  # there may be some where that starts workers


class Halved(Doomed):
    """One of its two workers is given up, and the other ends a little later."""

    polled = 0

    def poll(self, group):
        """The second one works for a while."""
        self.polled += 1
        other = WorkerState.RUNNING if self.polled < 4 else WorkerState.FAILED
        return [WorkerStatus(index=0, state=WorkerState.FAILED), WorkerStatus(index=1, state=other)]


def test_a_worker_that_is_given_up_is_told_of(plan):
    """While others go on, the command says once which worker it lost for good, and why."""
    plan.plugins.register(Offering("halved", Halved), "halved")
    plan.write()
    with (
        claim(plan.path),
        pytest.warns(UserWarning, match="worker") as caught,
        pytest.raises(StudyError, match="have ended before"),
    ):
        run_crew(plan, Crew(workers=2, launcher="halved"), Clock(plan.path))
    told = [str(warning.message) for warning in caught]
    assert told == ["worker 0 is given up, 1 of 2 go on; worker-0 says: there is no GPU 7"]


class Unreachable(Doomed):
    """A scheduler that does not answer for a moment, while its workers run."""

    asked = ()

    def poll(self, group):
        """Fails once."""
        Unreachable.asked += ("poll",)
        if Unreachable.asked == ("poll",):
            raise OSError("no route to the scheduler")
        state = WorkerState.DONE if "cancel" in self.asked else WorkerState.RUNNING
        return [WorkerStatus(index=i, state=state) for i in range(self.count)]

    def cancel(self, group, index=None):
        """Ends them."""
        Unreachable.asked += ("cancel",)


def test_a_launcher_that_fails_leaves_nobody_behind(plan):
    """Its error is not taken for a full disk, and its workers are ended before the command is."""
    plan.plugins.register(Offering("far", Unreachable), "far")
    plan.write()
    Unreachable.asked = ()
    said = r"^launcher 'far': poll raised OSError: no route to the scheduler"
    with claim(plan.path), pytest.raises(PluginError, match=said):
        run_crew(plan, Crew(workers=2, launcher="far"), Clock(plan.path))
    assert Unreachable.asked == ("poll", "cancel", "poll")


class Death(BaseException):
    """The end of a process."""


class Deadly(ToyTrainer):
    """Some trials kill their worker, again and again, and one did so once."""

    once = True

    def fit(self, recipe, data, run):
        """Trains the others."""
        if run.trial in (1, 2):
            raise Death
        for epoch in super().fit(recipe, data, run):
            yield epoch
            if run.trial == 3 and Deadly.once:
                Deadly.once = False
                raise Death


class Mortals(Launcher):
    """Lets a worker run in a thread, one life after the other."""

    submitted = 0

    def submit(self, spec, n, key):
        """Starts it again as often as is allowed."""
        Mortals.submitted += 1
        path = Path(spec.argv[4])
        self.state = WorkerState.FAILED

        def live():
            with (
                contextlib.suppress(Death),
                at_work(replace(self.plan, path=path), Clock(path)) as call,
            ):
                run_worker(call)
                self.state = WorkerState.DONE

        for _ in range(1 + spec.max_restarts):
            if self.state == WorkerState.FAILED:
                life = threading.Thread(target=live)
                life.start()
                life.join(60.0)
        return key

    def poll(self, group):
        """The lives are over."""
        return [WorkerStatus(index=0, state=self.state)]

    def cancel(self, group, index=None):
        """Never asked, for nobody runs."""
        raise RuntimeError("cancelled")


def test_a_trial_that_kills_every_worker_is_lost_and_the_study_goes_on(plan):
    """Workers who were given up have died in a trial: others take their place, until its retries have run out."""
    deadly = replace(plan.plugins.trainer("toy"), name="deadly", build=Deadly, batch=1, same=())
    plan.plugins.register(Offering("mortals", Mortals), "mortals")
    config = plan.config.model_copy(update={"retries": 2, "trials": 5, "trainer": "deadly", "epochs": 2})
    plan = replace(plan, trainer=deadly, config=config, epochs=2)
    Mortals.plan, Mortals.submitted, Deadly.once = plan, 0, True
    plan.write()
    with claim(plan.path), pytest.warns(UserWarning, match="worker") as caught:
        study = run_crew(plan, Crew(workers=1, launcher="mortals"), Clock(plan.path))
    assert [t.state for t in study.trials] == ["complete", "failed", "failed", "complete", "complete"]
    for trial in study.trials[1:3]:
        assert (trial.failure.kind, trial.attempts) == ("lost", 3)
        assert trial.failure.reason == "3 attempts in a row died without a new epoch"
    assert study.trials[3].attempts == 2
    assert Mortals.submitted == 3
    told = [str(warning.message) for warning in caught]
    assert told == [f"all 1 workers are given up, which died in trials {n}; new ones go on" for n in (1, 2)]


def test_what_options_ask_for():
    """GPUs, and workers on each, make a number of workers; without options there is no crew."""
    assert Crew.of(None, None, None, 30.0) is None
    assert Crew.of(3, None, None, 5.0) == Crew(workers=3, grace=5.0)
    assert Crew.of(None, "0, 1", 2, 30.0) == Crew(workers=4, gpus=("0", "1"))
    assert Crew.of(None, "GPU-1a", None, 30.0) == Crew(workers=1, gpus=("GPU-1a",))
    assert Crew.of(2, None, None, 30.0, "lsf") == Crew(workers=2, launcher="lsf")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((2, "0,1", None, 30.0), "both say how many workers"),
        ((None, None, 2, 30.0), "there are no GPUs named"),
        ((None, " ,", None, 30.0), "names no GPU"),
        ((0, None, None, 30.0), "0 workers"),
        ((None, None, None, 30.0, "lsf"), "--launcher lsf: there are no workers to start"),
    ],
)
def test_options_that_contradict_each_other(options, said):
    """They are refused, with what to write instead."""
    with pytest.raises(UsageError, match=said) as caught:
        Crew.of(*options)
    assert caught.value.hint
