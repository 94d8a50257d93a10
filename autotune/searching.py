"""A search from words to the saved best model: prepare a plan, then conduct it."""

from __future__ import annotations

import errno
import functools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from autotune.errors import AutotuneError, DataError, StudyError, UsageError
from autotune.model import Model
from autotune.plugins import Plugins, load_plugins
from autotune.study import Study

if TYPE_CHECKING:
    from autotune.config import StudyConfig
    from autotune.engine import Clock
    from autotune.launch import Crew
    from autotune.plan import Plan
    from autotune.relations import Past

Places: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

DEFAULT_DATA = "digits"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a call brought.

    Attributes:
        study: The study as it stands.
        went_on: False if its totals were reached before the call, so that nothing was trained.
    """

    study: Study
    went_on: bool


def prepare(
    data: Places | None,
    assignments: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
    runs: str | os.PathLike[str] = "runs",
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """Reads what is asked for and looks everything up; nothing is written into the study's folder.

    Args:
        data: A place of images, several of them, a study.toml, or the folder of a study, which then goes on; None is
            `DEFAULT_DATA` unless ``data=`` is assigned.
        assignments: ``key=value`` lines, as on the command line.
        values: Further keys with their values.
        runs: Where the folders of studies lie.
        progress: Told how many images have been looked at, and how many there are.

    Raises:
        AutotuneError: The request, the data, the weights or the folder cannot be used.
    """
    from autotune.plan import resolve

    plugins = load_plugins()
    config, home = read_request(data, assignments, values=values, runs=Path(runs), plugins=plugins)
    plan = resolve(config, plugins, runs=home, progress=progress, recall=_recall)
    if plan.config.teacher is not None:
        from autotune.after.distillation import check_teacher

        check_teacher(plan)
    return plan


def _recall(place: str, besides: Path) -> Past:
    """The past studies at a place; reading them needs the engine, which is slow to import."""
    from autotune.past import recall

    return recall(place, besides=besides)


def read_request(
    data: Places | None,
    assignments: Sequence[str],
    *,
    values: Mapping[str, Any] | None = None,
    runs: Path = Path("runs"),
    plugins: Plugins | None = None,
) -> tuple[StudyConfig, Path]:
    """The configuration that is asked for, and the folder in which the study's folder lies.

    With `plugins` every mistake is reported at once, those about trainers and hyperparameters included.
    """
    from autotune.config import read_config

    places = _places(data)
    file = study_file(Path(places[0])) if len(places) == 1 else None
    values = dict(values or {})
    if file is None and "data" not in values and not any(a.partition("=")[0].strip() == "data" for a in assignments):
        values["data"] = DEFAULT_DATA if data is None else places
    config = read_config(file, assignments, values, plugins=plugins)
    if file is not None and config.made and file.resolve().parent.name == config.name:
        return config, _near(file.resolve().parent.parent)  # a study that lies elsewhere goes on where it lies
    return config, runs


def _places(data: Places | None) -> list[str]:
    """The places that are named.

    Raises:
        UsageError: There are several, and one of them is a study.
    """
    several: Sequence[str | os.PathLike[str]] = ()
    if data is not None:
        several = [data] if isinstance(data, str | os.PathLike) else data
    places = [os.fspath(place) for place in several]
    studies = [place for place in places if study_file(Path(place)) is not None]
    if len(places) > 1 and studies:
        raise UsageError(
            f"{studies[0]}: is a study, and no place of images beside others",
            hint="give the study alone, or only places of images",
        )
    return places


def _near(folder: Path) -> Path:
    """The folder relative to the current one, if it lies there: people copy the paths that are printed."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def study_file(path: Path) -> Path | None:
    """The study.toml that a path names, itself or by its study's folder; None if it names data."""
    if path.suffix == ".toml":
        return path
    return path / "study.toml" if (path / "study.toml").is_file() else None


def conduct(
    plan: Plan,
    *,
    observers: Iterable[object] = (),
    started: float | None = None,
    crew: Crew | None = None,
    grace: float | None = None,
) -> Outcome:
    """Searches until the totals are reached, hands over the best model and writes the report.

    Interrupted at any point, the same call again goes on, and makes up what is missing of the best model or the report.

    Args:
        plan: What `prepare` returned.
        observers: Objects with observer hooks, for this search only.
        started: When the call began, on ``time.monotonic``; counts towards the study's time.
        crew: Workers that search in place of this process; None searches here.
        grace: Seconds from SIGTERM or SIGUSR1 until this process is gone; by default 30.

    Raises:
        Interrupted: A signal came; trials are saved, and the best model so far is in ``best/``.
        StudyError: Every trial failed, or another process is searching in the study's folder.
    """
    from autotune import engine

    loader = functools.partial(load_model, plugins=plan.plugins)
    observers = tuple(observers)
    for number, observer in enumerate(observers):
        plan.plugins.register(observer, f"{type(observer).__name__.lower()}-{number}")
    clock = engine.Clock(plan.path, plan.config.time, started=time.monotonic() if started is None else started)
    if crew is not None:
        crew.check(plan)
    if not engine.is_study(plan.path):
        plan.write()
    with engine.claim(plan.path):
        plan.write()
        _draw_alikes(plan)
        study = engine.snapshot(plan.path, loader)
        went_on = study.state != "done"
        handed = not went_on and engine.read_clock(plan.path)["handed"]
        if went_on:
            plan = taught(plan, clock)
            try:
                _search(plan, clock, observers, crew=crew, grace=engine.GRACE if grace is None else grace)
            except AutotuneError as error:
                try:
                    hand_over(plan, clock, score=False)
                    clock.close()
                except (AutotuneError, OSError) as late:
                    raise error from late  # the next call makes up what is missing
                raise
        elif not handed:  # the call that ended the search was killed before its end
            clock.open()
            clock.rest()
        hand_over(plan, clock, report=not handed)
        clock.hand_over()
        clock.close()
        study = engine.snapshot(plan.path, loader)
    if not handed:
        plan.plugins.notify("autotune_study_finished", study=study)
    if study.best is None:
        raise _nothing(study)
    return Outcome(study=study, went_on=went_on)


def _draw_alikes(plan: Plan) -> None:
    """Draws near-duplicates across sides into the study's folder, where they were looked for.

    Raises:
        StudyError: The folder cannot be written.
    """
    from autotune.inspecting.thumbnails import draw
    from autotune.plan import DRAWN

    several = len(plan.dataset.alikes) > 1
    for task, found in zip(plan.dataset.data.tasks, plan.dataset.alikes, strict=False):
        for number, pair in enumerate(found.pairs, start=1):
            sides = "-".join(side for side, _ in pair)
            path = plan.path / DRAWN / f"{f'{task.name}-' if several else ''}{number:02}-{sides}.png"
            try:
                path.parent.mkdir(exist_ok=True)
                draw([found.reader(key) for _, key in pair], path)
            except DataError:  # vanished since it was looked at: there is nothing to draw, and training says so
                continue
            except OSError as error:
                raise StudyError(f"{path}: cannot be written ({error.strerror})") from error


def _search(plan: Plan, clock: Clock, observers: Sequence[object], *, crew: Crew | None, grace: float) -> None:
    if crew is None:
        from autotune.engine import run_search

        run_search(plan, clock=clock, grace=grace)
    else:
        from autotune.launch import run_crew

        run_crew(plan, crew, clock, observers=observers)


def taught(plan: Plan, clock: Clock) -> Plan:
    """The plan with what its teacher thinks of the training images; the teacher is asked once.

    Raises:
        StudyError: The teacher cannot teach, or the disk is full.
        CheckpointError: The teacher's checkpoints are gone.
        BudgetError: Asking it takes longer than the time that is left.
    """
    if plan.config.teacher is None:
        return plan
    from autotune.after import distillation
    from autotune.engine.lines import unwritable

    clock.open()
    try:
        plan = distillation.taught(plan, deadline=clock.search_deadline)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise unwritable(Path(str(error.filename or plan.path)), error) from error
    clock.save()
    return plan


def hand_over(plan: Plan, clock: Clock, *, score: bool = True, report: bool = True) -> None:
    """Makes up what is missing of the best model and of the report.

    Raises:
        StudyError: The disk is full.
    """
    from autotune import engine
    from autotune.after.handover import finish
    from autotune.engine.lines import unwritable
    from autotune.reporting.report import write_report

    try:
        changed = finish(plan, engine.snapshot(plan.path, load_model), deadline=clock.deadline, score=score)
        clock.save()
        if changed or report or not (plan.path / "report.md").is_file():
            write_report(engine.snapshot(plan.path, load_model))
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise unwritable(Path(str(error.filename or plan.path)), error) from error


def load_model(folder: Path, device: str = "cpu", *, plugins: Plugins | None = None) -> Model:
    """Loads a handed-over model from the folder that holds its checkpoint.

    Args:
        folder: A ``best/`` folder, wherever it was copied to.
        device: A torch device name, or ``auto``.
        plugins: The plugins, if they are loaded already.
    """
    from autotune.lookup import load_model_of, open_checkpoint

    spec, checkpoint = open_checkpoint(folder / "model.safetensors", plugins or load_plugins())
    if spec.device is not None:
        device = spec.device(device)
    return load_model_of(spec, checkpoint, device)


def _nothing(study: Study) -> StudyError:
    failures = [t.failure for t in study.trained if t.failure is not None]
    kinds = ", ".join(sorted({f.kind for f in failures}))
    last = f"; the last failure: {failures[-1].kind}: {failures[-1].reason}" if failures else ""
    return StudyError(
        f"{study.path}: no model: none of {len(study.trained)} trials has a score"
        + (f" ({len(failures)} failed: {kinds})" if failures else "")
        + last,
        hint=f"autotune trials {study.path} --state failed; reasons and tracebacks lie in {study.path}/trials",
    )
