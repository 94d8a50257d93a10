"""Signals: one wish, two wishes, and a time of grace."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from autotune.engine import run_search
from autotune.engine.signals import Signals
from autotune.engine.study_lock import BrokenHoldError, StudyLock
from autotune.errors import Interrupted, Requeue


@pytest.mark.parametrize(("name", "kind"), [("SIGINT", Interrupted), ("SIGTERM", Requeue), ("SIGUSR1", Requeue)])
def test_who_lends_the_machine_is_asked_for_a_requeue(name, kind):
    """Ctrl-C is a person's wish; SIGTERM and SIGUSR1 ask to be started again."""
    with Signals() as signals:
        signal.raise_signal(getattr(signal, name))
        error = signals.interruption("stopped", hint="go on")
    assert (type(error), error.exit_code) == (kind, 130 if kind is Interrupted else 75)
    assert signals.asked == name


def test_a_process_and_its_group_that_get_sigterm_mean_it_once():
    """A second SIGTERM right after the first changes nothing; Ctrl-C does, and so does one that comes later."""
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        assert not signals.forced
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signals.forced


def test_the_grace_time_is_kept(plan, fake_fit):
    """A trainer that does not stop in time is stopped; its trial goes on from its last epoch in the next call."""

    def fit(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            yield epoch
            if run.resume is None and epoch.at == 2:
                signal.raise_signal(signal.SIGUSR1)
                time.sleep(30)

    began = time.monotonic()
    with pytest.raises(Requeue, match="stopped at once"):
        run_search(plan(fit, trials=1, epochs=4), grace=1.0)
    assert 0.5 < time.monotonic() - began < 5
    study = run_search(plan(fit, trials=1, epochs=4))
    assert [p.at for p in study.trials[0].curve] == [1, 2, 3, 4]


def test_a_thread_may_ask(plan, fake_fit):
    """What is noticed in a thread, e.g. that the launcher is gone, stops the search as SIGTERM does."""
    with Signals(grace=60.0) as signals:
        thread = threading.Thread(target=signals.ask, args=["its launcher's death"])
        thread.start()
        thread.join()
        assert signals.asked == "its launcher's death"
        assert not signals.forced


def test_a_hold_that_was_broken_is_noticed(tmp_path, monkeypatch):
    """Who stood still while it held the study's lock, and lost it, does nothing that only one may do."""
    monkeypatch.setattr("autotune.engine.study_lock.PATIENCE", 0.1)
    one, other = StudyLock(tmp_path), StudyLock(tmp_path)
    with pytest.raises(BrokenHoldError):
        one.check()
    with one.held():
        with one.held():
            one.check()
        one.check()
        with other.held():
            other.check()
            with pytest.raises(BrokenHoldError):
                one.check()
    with one.held():
        one.check()
