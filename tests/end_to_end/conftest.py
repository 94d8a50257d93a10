"""The ``autotune`` command in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune.testing import tiny_folder

COMMAND = str(Path(sys.executable).with_name("autotune"))


class Shell:
    """Runs the command in one folder, as a person at a shell would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []
        self.env = {**os.environ, "OMP_NUM_THREADS": "1", "AUTOTUNE_CACHE_DIR": str(folder / "cache")}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts the command and does not wait for it."""
        process = subprocess.Popen(
            [COMMAND, *words], cwd=self.folder, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._started.append(process)
        return process

    def close(self) -> None:
        """Ends what a failed test left running."""
        for process in self._started:
            with process:  # closes the pipes and waits
                process.kill()

    def run(self, *words: str, code: int = 0) -> str:
        """Runs the command to its end, which must be the one expected, and returns standard output."""
        process = self.start(*words)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, f"{words}: exit code {process.returncode}\n{out}\n{err}"
        return out

    def json(self, *words: str) -> Any:
        """Runs the command with --json."""
        return json.loads(self.run(*words, "--json"))

    def wait_for(self, there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Waits until something is there while a command runs."""
        began = time.monotonic()
        while not there():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() - began < 60, "it does not come"
            time.sleep(0.02)

    def epochs(self, study: str, trial: int = 0) -> int:
        """How many epochs of a trial are written down."""
        files = (self.folder / study / "trials" / f"{trial:05d}").glob("attempt-*/epochs.jsonl")
        return sum(line.startswith('{"at"') for file in files for line in file.read_text().splitlines())


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in a folder with ``images/``."""
    tiny_folder(tmp_path / "images")
    shell = Shell(tmp_path)
    yield shell
    shell.close()
