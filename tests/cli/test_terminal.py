"""What the terminal shows, and what happens where it cannot."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path

import click
import pytest

from autotune.cli.terminal import run

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs Linux's /dev/full")
def test_a_warning_that_cannot_be_written_ends_nothing(monkeypatch):
    """A worker's standard error is a log, and its disk may be full while a trial warns of just that."""
    went_on = []

    @click.command()
    def command():
        warnings.warn("the disk is full", stacklevel=1)
        went_on.append(True)

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    stream = FULL.open("w", buffering=1)
    monkeypatch.setattr(sys, "stderr", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code = run(command, [])
    with contextlib.suppress(OSError):
        stream.close()
    assert (code, went_on) == (0, [True])
