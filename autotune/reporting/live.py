"""The live display of a search: an observer, like any plugin's."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from autotune.hookspecs import hookimpl
from autotune.reporting.tables import cell, duration
from autotune.study import Study, Trial
from autotune.tracker import Tracker
from autotune.trainer import Epoch

if TYPE_CHECKING:
    from rich.spinner import Spinner


class Looking:
    """Says how many images have been looked at, where that takes more than a moment.

    Args:
        stream: Where it writes; standard error by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._said = time.monotonic()
        self._open = False

    def __call__(self, done: int, total: int) -> None:
        """Told how many images are done, and how many there are."""
        terminal, now = self._stream.isatty(), time.monotonic()
        if done < total and now - self._said >= (0.5 if terminal else 10):
            self._said, self._open = now, terminal
            end = "" if terminal else "\n"
            print(
                f"\rlooking at the images: {done:,} of {total:,}"[not terminal :],
                end=end,
                file=self._stream,
                flush=True,
            )
        elif done >= total and self._open:
            print("\r" + 60 * " " + "\r", end="", file=self._stream, flush=True)
            self._open = False


class Live(Tracker):
    """Shows trial, epoch, best so far, time left and images a second.

    On a terminal it keeps a panel up to date; elsewhere it prints one plain line for each thing that happens.
    Use it as a context, and register it with the plugins.

    Args:
        stream: Where it writes; standard error by default, so that standard output holds results only.
        said: Reasons that the person has been told already; what is chosen later, e.g. the epochs, is told here.
    """

    def __init__(self, stream: TextIO | None = None, *, said: Sequence[str] = ()) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._said = frozenset(said)
        self._screen: _Screen = _Panel(self._stream) if self._stream.isatty() else _Lines(self._stream)
        self._seen = time.monotonic()
        self._left: float | None = None

    def __enter__(self) -> Self:
        self._screen.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._screen.close()

    def left(self) -> float | None:
        """Seconds that the study may still take, or None where it has no end in time."""
        return None if self._left is None else max(0.0, self._left - (time.monotonic() - self._seen))

    @hookimpl
    def autotune_study_started(self, study: Study) -> None:
        """Tells what was chosen since the plan was shown, and notes the time left."""
        self._note(study)
        for reason in study.config.get("made", {}).get("reasons", ()):
            if reason not in self._said and not study.trials:
                self._screen.event(f"  {reason}")
        if study.trials:
            self._screen.event(f"going on after {len(study.trials)} trials, {duration(study.spent)} spent")

    @hookimpl
    def autotune_trial_started(self, study: Study, trial: Trial) -> None:
        """Shows the recipe."""
        self._note(study)
        again = f" (attempt {trial.attempts})" if trial.attempts > 1 else ""
        self._screen.event(f"trial {trial.number}{again}: {recipe_line(trial)}")
        self._screen.state(lambda: self._line(study, trial, None))

    @hookimpl
    def autotune_epoch_finished(self, study: Study, trial: Trial, epoch: Epoch) -> None:
        """Shows score and speed."""
        self._note(study)
        point = trial.curve[-1] if trial.curve else None
        speed = point.images / point.seconds if point is not None and point.seconds > 0 else None
        self._screen.progress(lambda: self._line(study, trial, epoch, speed))

    @hookimpl
    def autotune_trial_finished(self, study: Study, trial: Trial) -> None:
        """Shows how it ended."""
        self._note(study)
        why = f": {trial.failure.kind}: {trial.failure.reason}" if trial.failure else ""
        why = why or (f": {trial.reason}" if trial.reason else "")
        score = "" if trial.value is None else f", {study.objective.main.metric} {cell(trial.value)}"
        self._screen.event(f"trial {trial.number} {trial.state}{score}{why}")

    @hookimpl
    def autotune_study_finished(self, study: Study) -> None:
        """Ends the panel."""
        self._note(study)

    def _note(self, study: Study) -> None:
        self._seen = time.monotonic()
        self._left = None if study.time is None else study.time - study.spent

    def _line(self, study: Study, trial: Trial, epoch: Epoch | None, speed: float | None = None) -> str:
        metric = study.objective.main.metric
        parts = [f"trial {trial.number}" + (f" of {study.wanted}" if study.wanted else "")]
        if epoch is not None:
            parts.append(f"epoch {epoch.at:.3g}")
            if metric in epoch.metrics:
                parts.append(f"{metric} {cell(float(epoch.metrics[metric]))}")
        if (leader := study.leader) is not None:
            parts.append(f"best {cell(leader.value)} (trial {leader.number})")
        if speed is not None:
            parts.append(f"{speed:,.0f} images/s")
        if (left := self.left()) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)


def recipe_line(trial: Trial, most: int = 6) -> str:
    """The sampled part of a recipe in one line; all of it where nothing was sampled."""
    values = trial.sampled or trial.recipe
    shown = [f"{k}={cell(v)}" for k, v in list(values.items())[:most]]
    return " ".join(shown) + (" ..." if len(values) > most else "")


class _Screen(Protocol):
    def open(self) -> None: ...
    def close(self) -> None: ...
    def event(self, text: str) -> None:
        """Something that stays on the screen."""

    def progress(self, line: Callable[[], str]) -> None:
        """An epoch: stays where lines are printed, else replaces the state."""

    def state(self, line: Callable[[], str]) -> None:
        """What goes on now, asked again while it is shown; not printed where lines stay."""


class _Lines:
    """Plain lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def event(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def progress(self, line: Callable[[], str]) -> None:
        self.event("  " + line())

    def state(self, line: Callable[[], str]) -> None:
        pass


class _Panel:
    """One line with a spinner below the lines that stay, by rich; its time left counts down between epochs."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive
        from rich.spinner import Spinner

        self._line: Callable[[], str] = lambda: "starting"
        self._spinner = Spinner("dots")
        self._console = Console(file=stream, highlight=False)
        self._live = RichLive(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
        )

    def open(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def event(self, text: str) -> None:
        self._console.print(text, markup=False)

    def progress(self, line: Callable[[], str]) -> None:
        self._line = line

    def state(self, line: Callable[[], str]) -> None:
        self._line = line

    def _render(self) -> Spinner:
        from rich.text import Text

        self._spinner.update(text=Text(self._line()))
        return self._spinner
