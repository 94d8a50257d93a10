"""The live display of a search: an observer, like any plugin's."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from autotune.hookspecs import hookimpl
from autotune.reporting import batches, screenings
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
        self._said = set(said)
        self._screen: _Screen = _Panel(self._stream) if self._stream.isatty() else _Lines(self._stream)
        self._seen = time.monotonic()
        self._left: float | None = None
        self._told: object = None
        self._failure = ""

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
        if study.trials:
            self._said |= set(_reasons(study))
            done = f"{len(study.trained)} trials" if study.trained else screenings.count(study)
            self._screen.event(f"going on after {done}, {duration(study.spent)} spent")
        self._tell_reasons(study)

    @hookimpl
    def autotune_trial_started(self, study: Study, trial: Trial) -> None:
        """Shows the recipe; of a batch, the ranges of its recipes, once."""
        self._note(study)
        self._tell_reasons(study)
        if trial.stage == "screen":
            self._screen.state(lambda: f"looking at {screenings.backbone_of(trial)}")
            return
        batch = [t for t in batches.batch_of(study, trial) if t.state == "running"] or [trial]
        if trial.number != batch[0].number:
            return
        self._told = None
        again = f" (attempt {trial.attempts})" if trial.attempts > 1 else ""
        further = f" {told}" if (told := batches.continued(trial)) else ""
        self._screen.event(f"{batches.name(batch)}{further}{again}: {batches.recipe_line(batch)}")
        self._screen.state(lambda: self._line(study, trial, None))

    @hookimpl
    def autotune_epoch_finished(self, study: Study, trial: Trial, epoch: Epoch) -> None:
        """Shows score and speed; of a batch, the best score, once."""
        self._note(study)
        if trial.stage == "screen":
            return
        if trial.batch is None or self._first_told(trial.batch, epoch.at):
            self._screen.progress(lambda: self._line(study, trial, epoch))

    @hookimpl
    def autotune_trial_finished(self, study: Study, trial: Trial) -> None:
        """Shows how it ended; of a batch, how many ended how."""
        self._note(study)
        if trial.stage == "screen":
            self._screen.event(screenings.line(trial))
            return
        why = f": {trial.failure.kind}: {trial.failure.reason}" if trial.failure else ""
        why = why or (f": {trial.reason}" if trial.reason else "")
        batch = batches.batch_of(study, trial)
        if len(batch) > 1:
            left = [t for t in batch if t.state == "running"]
            if trial.failure and self._failure != why:
                self._failure = why
                self._screen.event(f"trial {trial.number} failed{why}")
            if self._first_told(trial.batch, len(left), trial.state == "running"):
                self._screen.event(f"{batches.name(batch)}: {self._ended(study, batch, trial)}")
            return
        score = "" if trial.value is None else f", {study.objective.main.metric} {cell(trial.value)}"
        self._screen.event(f"trial {trial.number} {trial.state}{score}{why}")

    @hookimpl
    def autotune_study_finished(self, study: Study) -> None:
        """Ends the panel."""
        self._note(study)

    def _note(self, study: Study) -> None:
        self._seen = time.monotonic()
        self._left = None if study.time is None else study.time - study.spent

    def _tell_reasons(self, study: Study) -> None:
        """Tells what was chosen since the person was told last, e.g. the candidates once they were looked at."""
        for reason in _reasons(study):
            if reason not in self._said:
                self._said.add(reason)
                self._screen.event(f"  {reason}")

    def _first_told(self, *what: object) -> bool:
        """Whether something is told for the first time; the trials of a batch tell it one after the other."""
        new, self._told = self._told != what, what
        return new

    def _ended(self, study: Study, batch: Sequence[Trial], trial: Trial) -> str:
        told = batches.states(batch)
        if trial.state == "running":
            return f"{told}: {trial.reason}" if trial.reason else told
        best = study.objective.best((t, t.metrics) for t in batch if t.value is not None)
        metric = study.objective.main.metric
        return told if best is None else f"{told}, best {metric} {cell(best.value)} (trial {best.number})"

    def _line(self, study: Study, trial: Trial, epoch: Epoch | None) -> str:
        metric = study.objective.main.metric
        batch = batches.batch_of(study, trial)
        parts = [batches.name(batch) + self._place(study, trial)]
        if epoch is not None:
            points = [t.curve[-1] for t in batch if t.curve and t.curve[-1].at == epoch.at]
            seconds = sum(point.seconds for point in points)
            parts.append(f"epoch {epoch.at:.3g}")
            scores = [float(p.metrics[metric]) for p in points if metric in p.metrics]
            if len(batch) > 1 and scores:
                parts.append(f"{metric} {cell(study.objective.main.best(scores))} best of {len(scores)}")
            elif metric in epoch.metrics:
                parts.append(f"{metric} {cell(float(epoch.metrics[metric]))}")
        if (leader := study.leader) is not None:
            parts.append(f"best {cell(leader.value)} (trial {leader.number})")
        if epoch is not None and seconds > 0:
            parts.append(f"{points[0].images / seconds:,.0f} images/s")
        if (left := self.left()) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)

    def _place(self, study: Study, trial: Trial) -> str:
        """How far the study is in its number of trials."""
        if not study.wanted:
            return ""
        if not any(t.follows for t in study.trials) and not study.screened:
            return f" of {study.wanted}"
        return f" ({batches.counted(study)} of {study.wanted})"


def _reasons(study: Study) -> Sequence[str]:
    """What was chosen in a study, and why."""
    reasons: Sequence[str] = study.config.get("made", {}).get("reasons", ())
    return reasons


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
