"""From words to a plan: every name, file and address is looked up here, and everything after it is an object."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from autotune import __version__
from autotune.backbone import Backbone
from autotune.cache import cache_folder
from autotune.checking import backbone_field, check
from autotune.choices import Choices, choose
from autotune.config import DEFAULT_TIME, StudyConfig
from autotune.data import Dataset
from autotune.datasets import check_tasks, described, open_dataset, whereabouts
from autotune.errors import StudyError, UsageError
from autotune.fields import build_recipe
from autotune.identity import asked_of, differences, stored_config
from autotune.indexing.dataset import name_of
from autotune.indexing.resembling import described_alikes
from autotune.lookup import open_checkpoint, resolve_backbone
from autotune.objective import Goal, Limit, Objective
from autotune.plugins import Plugins, load_plugins
from autotune.relations import Description, Past, PastStudy, Recall, with_learned
from autotune.reproducing import with_recipe_file
from autotune.space import Scalar, SearchSpace
from autotune.specs import TrainerSpec
from autotune.studyfile import write_study_file
from autotune.trainer import Recipe
from autotune.unchanged import changes, check_data, check_unseen, check_weights

__all__ = ["Plan", "cache_folder", "open_checkpoint", "reopen", "reopen_data", "resolve", "resolve_backbone"]

Progress = Callable[[int, int], None]

DRAWN = "near_duplicates/"
"""Where in a study's folder near-duplicates across sides are drawn."""
_OF_CALLS = ("cache_size", "lease", "retries")
"""What a later call may change; where it says nothing, what was said before stays."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study with everything looked up.

    Attributes:
        config: What was asked, completed by what was chosen; it is what study.toml says.
        path: The study's folder.
        plugins: The plugins it was made with.
        dataset: The images, on their sides.
        trainer: What trains.
        backbones: The candidates, by the names that recipes use; empty where the trainer uses none.
        space: What is searched.
        fixed: What is not, the trainer's presets included.
        objective: What is optimised.
        portfolio: Recipes to try first, as far as they say something; the recipe's defaults complete them.
        device: A torch device name.
        epochs: Length of a full training; None leaves it to the engine.
        reasons: What autotune chose, and why, one line each.
        cache: Folder for what trials may reuse.
        past: Past studies that the search is to learn from, and has not yet learned from.
    """

    config: StudyConfig
    path: Path
    plugins: Plugins
    dataset: Dataset
    trainer: TrainerSpec
    backbones: Mapping[str, Backbone]
    space: SearchSpace
    fixed: Mapping[str, Scalar]
    objective: Objective
    portfolio: tuple[Mapping[str, Scalar], ...]
    device: str
    epochs: int | None
    reasons: tuple[str, ...]
    cache: Path
    past: tuple[PastStudy, ...] = ()

    def recipe(self, sampled: Mapping[str, Scalar]) -> Recipe:
        """The recipe of one trial: defaults, presets, what is fixed and what was sampled, for its backbone.

        Raises:
            UsageError: A sampled name is no hyperparameter that is searched.
            pydantic.ValidationError: The trainer's own checks refuse the combination.
        """
        if unknown := [name for name in sampled if name not in self.trainer.recipe.model_fields]:
            raise UsageError(f"{unknown[0]!r} is no hyperparameter of trainer {self.trainer.name!r}")
        recipe = build_recipe(self.trainer.recipe, {**self.fixed, **sampled})
        backbone = self.backbone_of(recipe)
        return recipe.resolve(backbone.facts if backbone else None)

    def backbone_of(self, recipe: Recipe) -> Backbone | None:
        """The backbone that a recipe names; None where the trainer uses none."""
        field = backbone_field(self.trainer.recipe)
        return None if field is None else self.backbones[getattr(recipe, field)]

    def paced(self, epochs: int, *reasons: str) -> Plan:
        """The plan with a length for full trainings that the study itself has found."""
        config = self.config.model_copy(update={"epochs": epochs})
        return replace(self, config=config, epochs=epochs, reasons=(*self.reasons, *reasons))

    def write(self) -> None:
        """Writes study.toml into the study's folder, atomically; makes the folder.

        Raises:
            StudyError: The folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_study_file(self.path, self._as_it_stands())
        except OSError as error:
            raise StudyError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _as_it_stands(self) -> StudyConfig:
        """The configuration with what was decided since the plan was made."""
        made = {**self.config.made, "reasons": list(self.reasons)}
        if self.epochs is not None and "epochs" not in made.get("asked", {}):
            made["epochs"] = self.epochs
        return self.config.model_copy(update={"epochs": self.epochs, "made": made})


def resolve(
    config: StudyConfig,
    plugins: Plugins,
    *,
    runs: Path = Path("runs"),
    progress: Progress | None = None,
    recall: Recall | None = None,
) -> Plan:
    """Looks up everything that a configuration names; writes nothing into the study's folder.

    A study that lies in the folder already goes on, if it is the one that is asked for: the totals named now
    take the place of its own, and what it chose when it began stays chosen.

    Args:
        config: What is asked for.
        plugins: What is installed.
        runs: Where the folders of studies lie.
        progress: Told how many images have been looked at, and how many there are.
        recall: Reads the past studies that ``learn_from`` names; without it nothing is learned from them.

    Raises:
        ConfigError: Mistakes that only the plugins show.
        DataError: The images cannot be used.
        StudyError: The folder holds another study, or something else.
        WeightsUnavailable: Pretrained weights cannot be had.
        UsageError: A candidate refuses an image size, or cannot be found.
    """
    config = with_recipe_file(config)
    check(config, plugins)
    name = config.name or "-".join(map(name_for, config.places))
    path = runs / name
    stored = stored_config(path)
    if stored is None:
        named = config.model_copy(update={"name": name})
        return _plan(named, path, plugins, stored=None, progress=progress, recall=recall)
    if lines := differences(config, stored):
        raise StudyError(
            f"{path}: holds another study\n" + "\n".join(f"  {line}" for line in lines),
            hint=f"go on with it as it is: autotune search {path}; or begin another study: name=...",
        )
    here: dict[str, Any] = {"data": config.data, "device": config.device}
    here |= {key: value for key in _OF_CALLS if (value := getattr(config, key)) is not None}
    if config.time is not None or config.trials is not None:
        here |= {"time": config.time, "trials": config.trials}
    return _plan(stored.model_copy(update=here), path, plugins, stored=stored, progress=progress, recall=recall)


def reopen(
    folder: Path,
    plugins: Plugins,
    *,
    time: float | None = None,
    trials: int | None = None,
    progress: Progress | None = None,
) -> Plan:
    """The plan of the study in a folder, as it was written down.

    Args:
        folder: The study's folder.
        plugins: What is installed.
        time: Another total, in seconds; with one of the two given, the other is what is given as well.
        trials: Another total number of trials.
        progress: Told how many images have been looked at, and how many there are.

    Raises:
        StudyError: There is no study, or its data or its weights have changed.
        AutotuneError: As `resolve` raises.
    """
    stored = _stored(folder)
    check(stored, plugins)
    config = stored
    if time is not None or trials is not None:
        config = stored.model_copy(update={"time": time, "trials": trials})
    return _plan(config, folder, plugins, stored=stored, progress=progress)


def reopen_data(folder: Path, plugins: Plugins | None = None, *, progress: Progress | None = None) -> Dataset:
    """The images of the study in a folder, on the sides that they were on.

    Raises:
        StudyError: There is no study, or its images have changed.
        DataError: The images cannot be had.
    """
    stored = _stored(folder)
    dataset = open_dataset(stored, plugins or load_plugins(), progress)
    check_data(stored, dataset, folder)
    return dataset


def name_for(data: str) -> str:
    """A folder name for a study of some data: what its task is called, in plain letters."""
    return re.sub(r"[^\w.-]+", "-", name_of(data.rstrip("/\\") or "study")).strip("-.").lower() or "study"


def _stored(folder: Path) -> StudyConfig:
    stored = stored_config(folder)
    if stored is None:
        raise StudyError(f"{folder}: there is no study", hint="autotune search DATA begins one")
    return stored


def _plan(
    config: StudyConfig,
    path: Path,
    plugins: Plugins,
    *,
    stored: StudyConfig | None,
    progress: Progress | None,
    recall: Recall | None = None,
) -> Plan:
    trainer = plugins.trainer(config.trainer)
    dataset = open_dataset(config, plugins, progress, near=stored is None)
    check_tasks(config, dataset)
    if stored is not None:
        check_data(stored, dataset, path)
    device = trainer.device(config.device) if trainer.device else "cpu"
    asked, before = config, list[str]()
    if config.time is None and config.trials is None:
        asked = config.model_copy(update={"time": DEFAULT_TIME})
        before.append("time 15m: neither a time nor a number of trials was given")
    made = {} if stored is None else stored.made
    past = _past(config, path, recall) if "learned" not in made else Past()
    models = _nearest_models(past, dataset)
    chosen = choose(asked, trainer, plugins, dataset, device, completed=stored is not None, models=models)
    candidates = chosen.candidates
    check_unseen(candidates.backbones, dataset)
    if stored is not None:
        check_weights(stored, candidates.backbones, path)
        reasons = tuple(made.get("reasons", ()))
    else:
        reasons = (*before, *past.reasons, *chosen.reasons, *changes(config.made, dataset, candidates.backbones))
    full = _completed(asked, stored, chosen, dataset, device, reasons)
    return Plan(
        config=full,
        path=path,
        plugins=plugins,
        dataset=dataset,
        trainer=trainer,
        backbones=candidates.backbones,
        space=chosen.space,
        fixed=chosen.fixed,
        objective=Objective(
            tuple(Goal.of(m) for m in config.metric), tuple(Limit(n, float(m)) for n, m in config.limits.items())
        ),
        portfolio=with_learned(chosen.portfolio, made.get("learned", {}).get("recipes", {}).values()),
        device=device,
        epochs=full.epochs,
        reasons=reasons,
        cache=cache_folder(),
        past=past.studies,
    )


def _past(config: StudyConfig, path: Path, recall: Recall | None) -> Past:
    """The past studies that are to teach this one, but for itself."""
    return Past() if config.learn_from is None or recall is None else recall(config.learn_from, path)


def _nearest_models(past: Past, dataset: Dataset) -> list[str]:
    """The models of past studies, those of the most similar images first."""
    today = Description.of(dataset.data)
    near = sorted(past.studies, key=lambda study: -today.similarity(study.description))
    return [study.model for study in near if study.model is not None]


def _completed(
    config: StudyConfig,
    stored: StudyConfig | None,
    chosen: Choices,
    dataset: Dataset,
    device: str,
    reasons: Sequence[str],
) -> StudyConfig:
    """The configuration as study.toml says it: what was asked, what was chosen, and what was found."""
    weights = {n: b.weights.digest for n, b in chosen.candidates.backbones.items() if b.weights}
    made: dict[str, Any] = {
        "autotune": __version__,
        "libraries": {name: metadata.version(name) for name in ("torch", "timm", "torchvision", "optuna", "numpy")},
        "data": dataset.data.fingerprint,
        "test": dataset.test_fingerprint,
        "device": device,
        "found": described(dataset),
        "description": Description.of(dataset.data).facts(),
        "reasons": list(reasons),
        "weights": weights,
        "asked": stored.made.get("asked", {}) if stored else asked_of(config),
    }
    if alikes := described_alikes(
        dataset.alikes, [task.name for task in dataset.data.tasks][: len(dataset.alikes)], DRAWN
    ):
        made["near"] = alikes
    found_by_the_study = ("epochs", "screened", "learned", "near")
    made |= {key: stored.made[key] for key in found_by_the_study if stored is not None and key in stored.made}
    made |= whereabouts(config)
    if len(dataset.data.tasks) > 1:
        made["tasks"] = [task.name for task in dataset.data.tasks]
    return config.model_copy(
        update={
            "backbones": tuple(chosen.candidates.backbones) or None,
            "fixed": chosen.written_fixed,
            "space": chosen.written_space,
            "made": made,
        }
    )
