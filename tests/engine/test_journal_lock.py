"""The journal's lock: one holder at a time, and a dead one keeps nobody waiting."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autotune.engine.journal_lock import FREE, JournalLock

HOLD = """
import sys
from pathlib import Path
from autotune.engine.journal_lock import JournalLock
with JournalLock(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""
COUNT = """
import sys
from pathlib import Path
from autotune.engine.journal_lock import JournalLock
lock, counter = JournalLock(Path(sys.argv[1])), Path(sys.argv[2])
for _ in range(100):
    with lock.held():
        counter.write_text(str(int(counter.read_text()) + 1))
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that has the lock until its input ends."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    return child


def test_it_is_held_and_given_back(tmp_path):
    """While it is held the token bears the holder's name; afterwards it is free, and nothing else is left."""
    lock = JournalLock(tmp_path / "lock")
    with lock.held() as hold:
        assert hold.stands()
        assert [p.name for p in (tmp_path / "lock").iterdir()] == [hold.path.name]
    assert not hold.stands()
    assert [p.name for p in (tmp_path / "lock").iterdir()] == [FREE]
    assert [p.name for p in tmp_path.iterdir()] == ["lock"]


def test_a_killed_holder_of_this_machine_is_not_waited_for(tmp_path):
    """A process that was killed while it held the lock is seen to be dead, also while nobody has waited for it."""
    child = holder(tmp_path / "lock")
    child.send_signal(signal.SIGKILL)
    time.sleep(0.1)  # dead, and not yet waited for: a zombie
    begin = time.monotonic()
    with JournalLock(tmp_path / "lock").held():
        assert time.monotonic() - begin < 1
    child.communicate()


@pytest.mark.parametrize("machine", ["0123456789ab", ""])
def test_a_dead_holder_of_another_machine_delays_nobody_by_five_seconds(tmp_path, machine):
    """Of a hold from elsewhere, or from nobody knows where, only the time tells: it is broken within five seconds."""
    folder = tmp_path / "lock"
    folder.mkdir()
    (folder / f"{machine}-17-400-feedfeed").touch()
    begin = time.monotonic()
    with JournalLock(folder).held():
        assert 2 < time.monotonic() - begin < 5


def test_a_stopped_holder_is_broken_and_takes_nothing_back(tmp_path):
    """Who was stopped finds its hold gone, and what it gives back is not what somebody else has taken."""
    child = holder(tmp_path / "lock")
    child.send_signal(signal.SIGSTOP)
    try:
        with JournalLock(tmp_path / "lock", patience=0.3).held() as hold:
            child.send_signal(signal.SIGCONT)
            child.communicate(timeout=60)
            assert hold.stands()
    finally:
        child.kill()
        child.communicate()
    assert os.listdir(tmp_path / "lock") == [FREE]


def test_of_many_who_break_it_one_has_it(tmp_path):
    """Forty waiters find a dead hold at once; never do two of them have the lock."""
    folder = tmp_path / "lock"
    folder.mkdir()
    (folder / "0123456789ab-17-400-feedfeed").touch()
    inside, most, done = [], [], []

    def work():
        with JournalLock(folder, patience=0.2).held():
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.002)
            inside.pop()
        done.append(1)

    threads = [threading.Thread(target=work) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (max(most), len(done)) == (1, 40)


def test_processes_count_together(tmp_path):
    """Four processes that count under the lock, and make it first, lose no count."""
    counter = tmp_path / "count"
    counter.write_text("0")
    words = [sys.executable, "-c", COUNT, str(tmp_path / "lock"), str(counter)]
    children = [subprocess.Popen(words) for _ in range(4)]
    assert [child.wait(60) for child in children] == [0] * 4
    assert counter.read_text() == "400"


def test_a_copy_of_the_folder_works(tmp_path):
    """A folder that was copied while the lock was held, twice, is usable."""
    lock = JournalLock(tmp_path / "lock")
    for _ in range(2):
        with lock.held():
            shutil.copytree(tmp_path / "lock", tmp_path / "copy", dirs_exist_ok=True)
    assert len(os.listdir(tmp_path / "copy")) == 2
    copied = JournalLock(tmp_path / "copy", patience=0.1)
    for _ in range(3):
        with copied.held():
            pass
    assert os.listdir(tmp_path / "copy") == [FREE]


def test_an_emptied_folder_works(tmp_path):
    """Where somebody has removed the token there is a new one."""
    (tmp_path / "lock").mkdir()
    with JournalLock(tmp_path / "lock").held() as hold:
        assert hold.stands()


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    """The lock makes its own folder, and not the one around it."""
    with pytest.raises(FileNotFoundError), JournalLock(tmp_path / "gone" / "lock").held():
        pass
