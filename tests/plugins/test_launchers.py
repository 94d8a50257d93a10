"""Installed launchers: chosen by name, they start workers from what they are told alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import autotune
from autotune.cli import cli
from autotune.cli.terminal import run
from autotune.engine.attempt import read_claim
from autotune.engine.processes import is_over
from autotune.testing import tiny_folder

ELSEWHERE = """
    import os
    import signal
    import subprocess

    import autotune

    TOLD = []
    KNOWN = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


    class Elsewhere(autotune.Launcher):
        # As on another machine, workers are nobody's children here, and know nothing but what the spec says.

        def submit(self, spec, n, key):
            TOLD.append((spec, n))
            spec.log_dir.mkdir(exist_ok=True)
            self.workers = []
            for index in range(n):
                with (spec.log_dir / f"worker-{index}.log").open("ab") as log:
                    self.workers.append(
                        subprocess.Popen(
                            ["sh", "-c", '"$@"; exit $?', "sh", *spec.argv],
                            cwd=spec.cwd,
                            env={**KNOWN, **spec.env},
                            stdout=log,
                            stderr=log,
                            start_new_session=True,
                        )
                    )
            return key

        def poll(self, group):
            states = {None: autotune.WorkerState.RUNNING, 0: autotune.WorkerState.DONE}
            return [
                autotune.WorkerStatus(index=i, state=states.get(worker.poll(), autotune.WorkerState.FAILED))
                for i, worker in enumerate(self.workers)
            ]

        def cancel(self, group, index=None):
            for worker in self.workers:
                os.killpg(worker.pid, signal.SIGTERM)


    @autotune.hookimpl
    def autotune_launchers():
        return [autotune.LauncherSpec(name="elsewhere", summary="Another machine.", build=Elsewhere)]
"""
WORDS = ("search", "images", "trainer=toy", "sampler=random", "pruner=none", "epochs=2", "--trials", "3", "--quiet")


@pytest.fixture(autouse=True)
def _images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_folder(tmp_path / "images")
    monkeypatch.chdir(tmp_path)


def test_a_launcher_is_chosen_by_its_name(install, tmp_path, capsys):
    """Its workers do all trials, and are told of the folder, the caches and who started them."""
    install("acme", ELSEWHERE)
    code = run(cli, [*WORDS, "--workers", "2", "--launcher", "elsewhere", "--grace", "20s"])
    logs = [path.read_text() for path in Path("runs/images/workers").glob("*.log")]
    assert code == 0, (capsys.readouterr().err, logs)
    ((spec, workers),) = sys.modules["fake_autotune_acme"].TOLD
    assert (workers, len(logs), spec.cwd, spec.grace) == (2, 2, tmp_path, 13.0)
    assert spec.env["AUTOTUNE_CACHE_DIR"] == os.environ["AUTOTUNE_CACHE_DIR"]
    study = autotune.open("runs/images")
    assert [(t.state, t.attempts) for t in study.trials] == [("complete", 1)] * 3
    assert study.best is not None
    claims = [read_claim(attempt) for attempt in Path("runs/images/trials").glob("*/attempt-1")]
    assert all(is_over(claim.worker) and f"-{os.getpid()}-" not in claim.worker for claim in claims)


@pytest.mark.parametrize(
    ("name", "hint"), [("elswhere", "did you mean 'elsewhere'?"), ("lsf", "known: elsewhere, local")]
)
def test_a_launcher_that_nobody_offers(install, capsys, name, hint):
    """The nearest, or those that there are, are named, and nothing is written."""
    install("acme", ELSEWHERE)
    assert run(cli, [*WORDS, "--workers", "2", "--launcher", name]) == 2
    assert capsys.readouterr().err == f"error: no launcher is called {name!r}\n  {hint}\n"
    assert not Path("runs").exists()
