"""The public functions: search, check, open, load, evaluate, improve, find_lr."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.after.handover import best
from autotune.errors import StudyError, UsageError
from autotune.model import Averaging, Model
from autotune.searching import conduct, load_model, prepare
from autotune.study import Study

if TYPE_CHECKING:
    from autotune.after.evaluation import Evaluation
    from autotune.improving import Improvement
    from autotune.inspecting import Inspection
    from autotune.trainer import RateCurve

AnyPath = str | os.PathLike[str]


def search(
    data: AnyPath | Sequence[AnyPath],
    *assignments: str,
    time: str | float | None = None,
    trials: int | None = None,
    runs: AnyPath = "runs",
    observers: Iterable[object] = (),
    **keys: Any,
) -> Study:
    """Searches for the best fine-tuned model of images, within a budget.

    The same call again goes on towards the same totals, larger totals extend the study, and a study that has
    reached them is returned as it is.

    Args:
        data: A folder with one folder of images a class, an archive of such folders, a table of paths and labels, the
            name of a data source such as ``digits``, a study.toml, or the folder of a study. A list of places is
            several tasks, which ``trainer="multitask"`` trains on one backbone.
        assignments: Keys of study.toml as on the command line, e.g. ``"space.lr.high=0.01"``.
        time: The study's total time, e.g. ``"15m"``, or seconds; everything until the saved best model counts.
        trials: The study's total number of trials.
        runs: Where the folders of studies lie.
        observers: Objects with observer hooks, e.g. ``autotune.reporting.live.Live()``.
        keys: Keys of study.toml, e.g. ``name="x"``, ``backbones=["timm/resnet18"]``, ``fixed={"lr": 0.001}``.

    Returns:
        The study; ``study.best.load()`` is its best model.

    Raises:
        AutotuneError: With what is wrong and what to do; see `autotune.errors`.
    """
    started = clock.monotonic()
    values = {**keys, **_given(time=time, trials=trials)}
    plan = prepare(data, assignments, values=values, runs=runs)
    return conduct(plan, observers=observers, started=started).study


def check(
    data: AnyPath,
    *,
    quick: bool = False,
    probe: str | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Says what is the matter with images, and whether a search would start on them.

    Args:
        data: A folder, or the name of a data source, as for `search`.
        quick: Files are read and not decoded; images that lie in no files are decoded all the same.
        probe: Which images a linear probe finds wrongly labelled: it reads the features of a backbone such as
            ``timm/resnet18``, ``pixels`` made small, or, with ``auto``, those of an installed backbone.
        device: A torch device name, or ``auto``, for that backbone.
        progress: Told, stage by stage, how many images are done and how many there are.

    Returns:
        The findings; ``problem`` is None if a search would start.

    Raises:
        UsageError: A quick look and a probe are asked for.
        DataError: The place cannot be opened, or lists no images.
        AutotuneError: With what is wrong and what to do; see `autotune.errors`.
    """
    from autotune.cache import cache_folder
    from autotune.inspecting import inspect
    from autotune.plugins import load_plugins

    if quick and probe is not None:
        raise UsageError("a quick check decodes nothing, and a probe has to", hint="leave out quick, or the probe")
    return inspect(
        os.fspath(data),
        load_plugins(),
        cache=cache_folder(),
        quick=quick,
        probe=probe,
        device=device,
        progress=progress,
    )


def open(path: AnyPath) -> Study:
    """Opens a study's folder.

    Raises:
        StudyError: There is no study, or it is of a newer version.
    """
    from autotune.engine import snapshot

    return snapshot(_study_folder(Path(path)), load_model)


def load(path: AnyPath, device: str = "cpu") -> Model:
    """Loads a model.

    Args:
        path: A study's folder, or its ``best/`` folder, wherever it was copied to.
        device: A torch device name, or ``auto``.

    Raises:
        StudyError: The study has no best model yet.
        CheckpointError: There is no model, or it is cut short or altered.
    """
    folder = Path(path)
    if not (folder / "model.json").is_file() and (folder / "study.toml").is_file():
        folder = best(open(folder)).path
    return load_model(folder, device)


def evaluate(
    path: AnyPath,
    unlock_test: bool = False,
    *,
    device: str = "auto",
    task: str | None = None,
    tta: Averaging = "none",
) -> Evaluation:
    """Measures a study's best model on its locked test images, and records that.

    Of a study of several tasks, each is measured on its own test images, whose openings are recorded separately.

    Args:
        path: The study's folder.
        unlock_test: Must be true: whoever opens the test set says so.
        device: A torch device name, or ``auto``.
        task: The only task whose test images are opened; None opens those of all.
        tta: Test-time augmentation: ``none``, ``flip`` or ``crops``; see `autotune.Model.predict`.

    Raises:
        UsageError: `unlock_test` is false, or there is no such task or augmentation.
        StudyError: There is no best model yet, or the opening cannot be recorded.
        DataError: The test images cannot be had, or the model was trained on some of them.
    """
    from autotune.after.evaluation import evaluate_on_test, require_unlocked
    from autotune.cache import cache_folder
    from autotune.plan import reopen_data

    study = open(path)
    model = best(study)
    require_unlocked(unlock_test, study.path, task=task, tta=tta)
    dataset = reopen_data(study.path)
    return evaluate_on_test(
        model.load(device), model.path, dataset, study=study.path, cache=cache_folder(), task=task, tta=tta
    )


def improve(
    model: AnyPath,
    data: AnyPath,
    *assignments: str,
    time: str | float | None = None,
    trials: int | None = None,
    runs: AnyPath = "runs",
    observers: Iterable[object] = (),
    **keys: Any,
) -> Improvement:
    """Fine-tunes a trained model further, without searching backbones, and says whether it became better.

    Args:
        model: A study's folder, a ``best/`` folder, or ``timm/NAME@weights.safetensors``.
        data: As for `search`.
        assignments: As for `search`.
        time: As for `search`.
        trials: As for `search`.
        runs: As for `search`.
        observers: As for `search`.
        keys: As for `search`.

    Returns:
        The study and the comparison with the model as it was.

    Raises:
        AutotuneError: With what is wrong and what to do; see `autotune.errors`.
    """
    from autotune import improving

    started = clock.monotonic()
    values = {**keys, **_given(time=time, trials=trials)}
    prepared = improving.prepare(model, data, assignments, values=values, runs=runs)
    return improving.conduct(prepared, observers=observers, started=started)


def find_lr(data: AnyPath | Sequence[AnyPath], *assignments: str, **keys: Any) -> RateCurve:
    """Looks for a learning rate by a range test (Smith 2015, arXiv:1506.01186): some 100 steps whose rates rise.

    It is made with the recipe that `search` would start from; nothing is written but what trials share in the cache.

    Args:
        data: As for `search`.
        assignments: As for `search`, e.g. ``"fixed.unfreeze=2"``.
        keys: As for `search`.

    Returns:
        The smoothed loss at each rate of the head, and the rate at which it falls fastest; all rates keep their ratios.

    Raises:
        UsageError: The trainer has no range test.
        AutotuneError: With what is wrong and what to do; see `autotune.errors`.
    """
    from autotune import ratefinding

    return ratefinding.sweep(data, assignments, values=keys).curve


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _study_folder(path: Path) -> Path:
    """The study's folder, named itself or by its study.toml or its ``best/``."""
    if path.name == "study.toml" or (path.name == "best" and (path.parent / "study.toml").is_file()):
        path = path.parent
    if not path.exists():
        raise StudyError(f"{path}: there is no such folder", hint="studies lie in runs/; list them: ls runs")
    if not (path / "study.toml").is_file():
        raise StudyError(f"{path}: is no study: it has no study.toml", hint="name a folder such as runs/NAME")
    return path
