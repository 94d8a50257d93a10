"""Leases: counters, who watches them, and what is known of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from autotune.engine.attempt import Claim, begin, claim_attempt, finish, is_taken_over, open_attempt
from autotune.engine.leases import ALIVE, Counter, Watcher
from autotune.engine.processes import is_over, machine, present, started

ELSEWHERE = "0123456789ab-1-1-deadbeef"


def claimed(study, number=0, worker=ELSEWHERE, lease=None):
    """An attempt that somebody has claimed."""
    folder = claim_attempt(study / "trials" / f"{number:05d}")
    begin(folder, start=0.0, claim=Claim(worker=worker, lease=lease or folder.relative_to(study).as_posix()))
    return folder


def test_a_counter_that_stands_still_is_nobodys(tmp_path):
    """The first sight starts the timing; a counter that moves is timed anew, whatever its value."""
    now = [0.0]
    watcher, folder = Watcher(tmp_path, lambda: now[0]), claimed(tmp_path)
    counter = Counter(folder)
    counter.beat()
    now[0] = 100.0
    assert watcher.alive(folder, 5.0)
    now[0] = 104.9
    assert watcher.alive(folder, 5.0)
    counter.beat()
    now[0] = 106.0
    assert watcher.alive(folder, 5.0)
    now[0] = 110.9
    assert watcher.alive(folder, 5.0)
    now[0] = 111.1
    assert not watcher.alive(folder, 5.0)


def test_a_worker_that_never_beats_is_waited_for_as_long(tmp_path):
    """A claim without a counter is timed from its first sight as well."""
    now = [0.0]
    watcher, folder = Watcher(tmp_path, lambda: now[0]), claimed(tmp_path)
    assert watcher.alive(folder, 1.0)
    now[0] = 1.0
    assert not watcher.alive(folder, 1.0)


def test_a_claim_without_its_first_line_is_nobodys(tmp_path):
    """Who claims writes the line under the lock; where it is missing, a death came in between."""
    watcher = Watcher(tmp_path, lambda: 0.0)
    assert not watcher.alive(claim_attempt(tmp_path / "trials" / "00000"), 9.0)


def test_the_attempts_of_a_batch_share_a_counter(tmp_path):
    """While the counter of one moves, all of them are alive."""
    now = [0.0]
    watcher, lead = Watcher(tmp_path, lambda: now[0]), claimed(tmp_path)
    other = claimed(tmp_path, 1, lease="trials/00000/attempt-1")
    counter = Counter(lead)
    for now[0] in (0.0, 4.0, 8.0):
        counter.beat()
        assert watcher.alive(other, 5.0)
    assert not (other / ALIVE).exists()


def test_a_counter_needs_no_room(tmp_path):
    """It is raised in place: its file keeps its size."""
    folder = claimed(tmp_path)
    counter = Counter(folder)
    sizes = set()
    for _ in range(120):
        counter.beat()
        sizes.add((folder / ALIVE).stat().st_size)
    assert sizes == {13}
    assert int((folder / ALIVE).read_text()) == 120


def test_a_block_that_is_over_is_known_to_be(tmp_path):
    """In one process, a mark lives as long as its block; its worker is not waited for afterwards."""
    with present() as mark:
        assert not is_over(mark)
        folder = claimed(tmp_path, worker=mark)
        watcher = Watcher(tmp_path, lambda: 0.0)
        assert watcher.alive(folder, 9.0)
    assert is_over(mark)
    assert not watcher.alive(folder, 9.0)


def test_a_killed_process_is_known_to_be_over():
    """Of this machine a dead process is seen at once, a stopped one is not dead; of other machines nothing is known."""
    code = (
        "import time\nfrom autotune.engine.processes import present\n"
        "with present() as mark:\n print(mark, flush=True)\n time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    mark = child.stdout.readline().strip()
    assert not is_over(mark)
    child.send_signal(signal.SIGSTOP)
    assert not is_over(mark)
    child.kill()
    child.communicate()
    assert is_over(mark)
    assert not is_over(ELSEWHERE)
    assert not is_over("nonsense")


def test_a_number_that_another_process_got_since_is_no_sign_of_life():
    """A process is known by its number and the time at which it began."""
    mark = f"{machine()}-{os.getppid()}-{int(started(os.getppid())) - 1}-deadbeef"
    assert is_over(mark)


def test_attempts_that_have_ended_are_open_no_more(tmp_path):
    """The newest attempt counts; what came before it was taken over."""
    trial = tmp_path / "trials" / "00000"
    assert open_attempt(trial) is None
    first = claimed(tmp_path)
    assert open_attempt(trial) == first
    assert not is_taken_over(first)
    second = claimed(tmp_path)
    assert is_taken_over(first)
    assert open_attempt(trial) == second
    finish(second, "paused", 1.0)
    assert open_attempt(trial) is None
