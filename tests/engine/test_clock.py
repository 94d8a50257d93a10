"""The study's clock: kept by one worker at a time, never added up, and nothing is lost when the keeper dies."""

from __future__ import annotations

import json
import threading
import time

import pytest

from autotune.engine import clock as module
from autotune.engine.clock import FILE, Clock, Pulse, read_clock


@pytest.fixture
def now(monkeypatch):
    """Makes the monotonic clock stand still, to be set as a test says."""
    told = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: told[0])
    return told


def opened(folder, total=None, **more):
    """A clock that has begun."""
    clock = Clock(folder, total, **more)
    clock.open()
    return clock


def test_calls_one_after_the_other_add_up(tmp_path, now):
    """What lies between two calls does not count."""
    for seconds in (10.0, 5.0):
        clock = opened(tmp_path, 60.0)
        now[0] += seconds
        clock.close()
        now[0] += 1000.0
    assert read_clock(tmp_path)["spent"] == 15.0
    clock = opened(tmp_path, 60.0)
    assert (clock.before, clock.spent, clock.deadline - now[0]) == (15.0, 15.0, 45.0)


def test_workers_at_once_do_not_add_up(tmp_path, now):
    """One keeps the time; who joins and leaves meanwhile adds nothing, and sees the same time."""
    one = opened(tmp_path)
    one.save()
    for _ in range(5):
        now[0] += 1.0
        one.save()
    other = opened(tmp_path, started=now[0] - 4.0)  # its imports are no further time
    for _ in range(5):
        now[0] += 1.0
        one.save()
        other.save()
        assert abs(one.spent - other.spent) < 0.01
    other.close()
    now[0] += 1.0
    one.close()
    assert read_clock(tmp_path)["spent"] == pytest.approx(11.0, abs=0.01)


def test_another_one_keeps_the_time_when_the_keeper_is_gone(tmp_path, now):
    """After the keeper's death, and after it left, the time that others are at work goes on to count."""
    dead, other = opened(tmp_path), opened(tmp_path)
    dead.save()
    for _ in range(10):
        now[0] += 1.0
        other.save()
    assert read_clock(tmp_path)["spent"] == pytest.approx(10.0, abs=0.01)
    third = opened(tmp_path)
    other.close()
    now[0] += 1.0
    third.save()
    assert read_clock(tmp_path)["spent"] == pytest.approx(11.0, abs=0.01)


def test_a_keeper_that_stood_still_keeps_no_longer(tmp_path, now):
    """A worker that was stopped, and whose place was taken, does not write its own time over that of others."""
    stopped, other = opened(tmp_path), opened(tmp_path)
    stopped.save()
    for _ in range(6):
        now[0] += 1.0
        other.save()
    stopped.save()
    assert json.loads((tmp_path / FILE).read_text())["keeper"] == other._me
    assert stopped.spent == pytest.approx(6.0, abs=0.01)


def test_a_short_call_after_a_death_counts(tmp_path, now):
    """What a call spends that ends before it can know that the keeper is dead is not lost."""
    opened(tmp_path).save()
    now[0] += 1.0
    clock = opened(tmp_path)
    now[0] += 1.0
    clock.close()
    assert read_clock(tmp_path)["spent"] == pytest.approx(2.0, abs=0.01)


def test_the_keeper_of_another_machine_is_not_timed_by_its_clock(tmp_path, now, monkeypatch):
    """Its clock means nothing here: only the sum that it writes is taken over."""
    far, near = opened(tmp_path), opened(tmp_path)
    monkeypatch.setattr(module, "machine", lambda: "far")
    far.save()
    monkeypatch.setattr(module, "machine", lambda: "near")
    facts = json.loads((tmp_path / FILE).read_text())
    for count in range(2, 6):
        now[0] += 1.0
        (tmp_path / FILE).write_text(json.dumps({**facts, "count": count, "spent": 100.0 + count, "at": 5.0}))
        near.save()
    assert near.spent == pytest.approx(105.0, abs=0.01)
    assert json.loads((tmp_path / FILE).read_text())["keeper"] == far._me


def test_what_was_said_is_not_lost_to_the_keeper(tmp_path, now):
    """Who does not keep the time may say that the search has ended, and the keeper does not write over it."""
    keeper, other = opened(tmp_path, 60.0), opened(tmp_path, 60.0)
    keeper.save()
    other.begin()
    other.end("all 3 trials are done", trials=3)
    now[0] += 1.0
    keeper.save()
    facts = read_clock(tmp_path)
    assert facts["ready"]
    assert facts["ended"] == {"time": 60.0, "trials": 3, "reason": "all 3 trials are done"}
    assert keeper.ended == facts["ended"]
    keeper.hand_over()
    other.reopen()
    facts = read_clock(tmp_path)
    assert (facts["ended"], facts["handed"]) == (None, False)


def test_a_call_that_rests_does_not_count(tmp_path, now):
    """A study that was done before spends nothing on being looked at."""
    clock = opened(tmp_path)
    now[0] += 3.0
    clock.close()
    again = opened(tmp_path)
    again.save()
    now[0] += 5.0
    again.save()
    again.rest()
    again.close()
    assert read_clock(tmp_path)["spent"] == 3.0


def test_the_pulse_is_awake_only_while_it_can_write():
    """The time by which others are judged stands still while nothing can be written."""
    broken = threading.Event()

    def beat():
        if broken.is_set():
            raise OSError("read-only")

    with Pulse(0.01) as pulse:
        pulse.add(beat)
        while pulse.awake < 0.05:
            time.sleep(0.01)
        broken.set()
        time.sleep(0.05)
        before = pulse.awake
        time.sleep(0.2)
        assert pulse.awake == before
