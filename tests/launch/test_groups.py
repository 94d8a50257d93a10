"""Groups: launchers that fail, and workers that do not end."""

from __future__ import annotations

import time

import pytest

from autotune import Launcher, WorkerSpec, WorkerState, WorkerStatus
from autotune.errors import PluginError, UsageError
from autotune.launch import groups
from autotune.launch.groups import Group


class Scheduler(Launcher):
    """Notes what it is asked; workers run until they are cancelled, and some even then.

    Args:
        fails: Errors to raise, by method, one a call.
        stubborn: The workers that do not end.
    """

    def __init__(self, fails=None, stubborn=()):
        self.fails, self.stubborn, self.asked, self.ended = fails or {}, stubborn, [], False

    def _note(self, method):
        self.asked.append(method)
        if self.fails.get(method):
            raise self.fails[method].pop(0)

    def submit(self, spec, n, key):
        """Starts them."""
        self.n = n
        self._note("submit")
        return f"group-{key}"

    def poll(self, group):
        """Says who runs."""
        self._note("poll")
        over = [self.ended and index not in self.stubborn for index in range(self.n)]
        return [
            WorkerStatus(index=i, state=WorkerState.DONE if over[i] else WorkerState.RUNNING) for i in range(self.n)
        ]

    def cancel(self, group, index=None):
        """Ends them."""
        assert group == "group-key"
        self._note("cancel")
        self.ended = True


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(groups, "EVERY", 0.01)
    monkeypatch.setattr(groups, "AT_ONCE", 0.2)


@pytest.fixture
def group(tmp_path):
    """Makes a group of three workers of a launcher."""
    spec = WorkerSpec(argv=["true"], grace=0.1, log_dir=tmp_path / "logs")
    return lambda launcher: Group(launcher, spec, 3, "key", "launcher 'slow'")


@pytest.mark.parametrize("method", ["submit", "poll"])
def test_an_error_of_a_launcher_is_told_as_one(group, method):
    """It names launcher and method, and is no full disk; what the launcher says of a mistake is passed on."""
    with pytest.raises(PluginError, match=f"^launcher 'slow': {method} raised OSError: no route"):
        group(Scheduler({method: [OSError("no route")]})).is_over()
    with pytest.raises(UsageError, match="no such partition"):
        group(Scheduler({method: [UsageError("no such partition")]})).is_over()


@pytest.mark.parametrize("fails", [{"poll": 2}, {"cancel": 2}, {"cancel": 1, "poll": 3}])
def test_workers_are_cancelled_by_a_launcher_that_fails_for_a_while(group, fails):
    """They are asked to end before anything else, again where that fails, and looked at until they have."""
    launcher = Scheduler({method: [OSError("busy")] * count for method, count in fails.items()})
    group(launcher).dismiss()
    assert launcher.asked[:2] == ["submit", "cancel"]
    assert launcher.asked.count("cancel") == 1 + fails.get("cancel", 0)
    assert launcher.ended
    assert launcher.fails == {method: [] for method in fails}


def test_who_does_not_end_is_told_of_and_not_waited_for(group):
    """After the grace time, and a little, a warning says which workers are left."""
    began = time.monotonic()
    with pytest.warns(UserWarning, match="have not ended") as caught:
        group(Scheduler(stubborn=(0, 2))).dismiss()
    assert 0.3 <= time.monotonic() - began < 5.0
    (told,) = [str(warning.message) for warning in caught]
    assert told == (
        "workers 0, 2 of group group-key have not ended 0.3 s after they were to; "
        "end them by the means of launcher 'slow'"
    )


def test_a_launcher_that_cannot_cancel_is_told_of(group):
    """The warning says why its workers go on."""
    launcher = Scheduler({"cancel": [OSError("no route")] * 1000})
    with pytest.warns(UserWarning, match=r"^workers 0, 1, 2 of .*; launcher 'slow': cancel raised OSError: no route;"):
        group(launcher).dismiss()


def test_a_second_signal_cancels_again_and_waits_less(group):
    """A launcher that is asked twice kills at once."""

    class Impatient(Scheduler):
        """A person presses Ctrl-C while it is asked."""

        def poll(self, group):
            """Says who runs, but for the first time."""
            if self.asked[-1] == "cancel" and self.asked.count("cancel") == 1:
                self.asked.append("interrupt")
                raise KeyboardInterrupt
            return super().poll(group)

    launcher = Impatient()
    with pytest.raises(KeyboardInterrupt):
        group(launcher).dismiss()
    assert launcher.asked == ["submit", "cancel", "interrupt", "cancel", "poll"]


def test_a_group_that_is_over_is_left_alone(group):
    """Nobody is cancelled who has ended."""
    launcher = Scheduler()
    launcher.ended = True
    made = group(launcher)
    assert made.is_over()
    made.dismiss()
    assert launcher.asked == ["submit", "poll"]
