"""What a person asks for: ``study.toml`` and ``key=value``, read into one frozen record.

A relative path in a study file, like one on the command line, is relative to the current directory.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from autotune.assignments import Wishes
from autotune.byte_sizes import parse_bytes
from autotune.checking import config_problems
from autotune.durations import parse_duration
from autotune.errors import ConfigError, UsageError
from autotune.mistakes import lines_of

if TYPE_CHECKING:
    from autotune.plugins import Plugins

FORMAT = 1
DEFAULT_TIME = 900.0
DEFAULT_LEASE = 30.0
DEFAULT_RETRIES = 4

Sampler = Literal["tpe", "random", "gp", "cmaes", "qmc", "nsga2"]
Pruner = Literal["halving", "none"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)
PRUNERS: tuple[str, ...] = get_args(Pruner)

_NAME = re.compile(r"[\w-][\w.-]*")
_DEVICE = re.compile(r"(auto|cpu|mps|cuda(:\d+)?|xpu(:\d+)?)")


class Splits(BaseModel):
    """Shares of the images on the sides that do not train; what is left trains."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    test: float = Field(default=0.15, ge=0, lt=1, description="Locked until you unlock it.")
    val: float = Field(default=0.10, gt=0, lt=1, description="Prunes, stops early and ranks the search.")
    select: float = Field(default=0.05, ge=0, lt=1, description="Chooses among finalists, from 1,000 images on.")

    @model_validator(mode="after")
    def _leaves_some_to_train(self) -> Splits:
        if self.test + self.val + self.select > 0.9 + 1e-9:
            raise ValueError("test, val and select together must leave at least 0.1 to train on")
        return self


def _names(value: object) -> object:
    """Takes one name for a list of one; leaves ``[a, b]`` alone, which is a list that TOML could not read."""
    if isinstance(value, str) and not value.startswith("["):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _places(value: object) -> object:
    """Takes a list of one place for that place, and checks each of several."""
    given = value if isinstance(value, list | tuple) else [value]
    if not given or "" in given:
        raise ValueError("must not be empty")
    if not all(isinstance(place, str) for place in given):
        raise ValueError("must be a place, or a list of places in quotes, e.g. data=['cats', 'dogs']")
    return given[0] if len(given) == 1 else tuple(given)


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float):
        raise ValueError("must be text, a number, true or false")
    return value


def _time(value: object) -> object:
    return None if value is None else parse_duration(value)


def _bytes(value: object) -> object:
    return None if value is None else parse_bytes(value)


class StudyConfig(BaseModel):
    """One study as it was asked for, or, read from a study's folder, as it was resolved.

    The fields are the keys of study.toml, in this order, with their defaults and descriptions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    format: int = Field(default=FORMAT, ge=1, description="The version of this file's format.")
    name: str | None = Field(
        default=None, description="The study's folder is runs/NAME; by default named after the data."
    )
    data: Annotated[str | tuple[str, ...], BeforeValidator(_places)] = Field(
        description="Folder, archive or table of images, or a name such as digits; a list of them is several tasks, "
        "for trainer multitask. Relative to the current directory."
    )
    trainer: str = Field(default="classify", description="What trains; `autotune plugins` lists them.")
    metric: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        default=("accuracy",), min_length=1, description="What is optimised; the first of several decides."
    )
    limits: dict[str, float] = Field(default={}, description="Maxima that a model must keep, by metric.")
    time: Annotated[float | None, BeforeValidator(_time)] = Field(
        default=None, description="Total time of the study, e.g. 15m or 1h30m; 15m if neither time nor trials is given."
    )
    trials: int | None = Field(default=None, ge=1, description="Total number of trials.")
    epochs: int | None = Field(
        default=None, ge=1, description="Length of a full training; by default fitted to the time."
    )
    seed: int = Field(default=0, ge=0, description="Everything random derives from it.")
    trial_seed: int | None = Field(
        default=None, ge=0, description="The first trial's own seed, to repeat a trial; by default derived from seed."
    )
    sampler: Sampler = Field(default="tpe", description=f"What proposes recipes: {', '.join(SAMPLERS)}.")
    pruner: Pruner = Field(default="halving", description="What ends hopeless trials early: halving, or none.")
    backbones: Annotated[tuple[str, ...] | None, BeforeValidator(_names)] = Field(
        default=None, min_length=1, description="Candidates such as timm/resnet18; by default chosen for you."
    )
    pretrained: bool = Field(default=True, description="Start from pretrained weights.")
    screen: bool = Field(
        default=True,
        description="Look at every candidate before the search; what is clearly worse, or too slow, is left out.",
    )
    learn_from: str | None = Field(
        default=None,
        min_length=1,
        description="Past studies to learn from, as far as they relate to this one: a folder of studies, or one study.",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps.")
    cache_size: Annotated[int | None, BeforeValidator(_bytes)] = Field(
        default=None,
        description="Disk for what is computed once, all studies together, e.g. 20GB; unset, a tenth of the free disk.",
    )
    lease: Annotated[float | None, BeforeValidator(_time)] = Field(
        default=None,
        description="How long a worker may seem dead before another one takes its trial over; unset, 30s.",
    )
    retries: int | None = Field(
        default=None,
        ge=0,
        description="How often a trial whose worker died without a new epoch, or a worker, is started again; unset, 4.",
    )
    recipe: str | None = Field(default=None, min_length=1, description="A trial's recipe.toml to reproduce.")
    teacher: str | None = Field(
        default=None,
        min_length=1,
        description="A study whose best trials teach this one: what they think together is learnt beside the labels.",
    )
    fixed: dict[str, Annotated[Any, BeforeValidator(_scalar)]] = Field(
        default={}, description="Hyperparameters that are not searched."
    )
    space: dict[str, dict[str, Any]] = Field(default={}, description="Changed ranges: low, high, log, step, or values.")
    splits: Splits = Field(default=Splits(), description="Shares of the images on each side.")
    made: dict[str, Any] = Field(default={}, description="Written by autotune: what it found and chose, and why.")

    @property
    def places(self) -> tuple[str, ...]:
        """Where the images of each task are; usually one place."""
        return (self.data,) if isinstance(self.data, str) else self.data

    @field_validator("name")
    @classmethod
    def _one_folder(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
            raise ValueError("must be a plain folder name of letters, digits, '.', '_' and '-', not starting with '.'")
        return value

    @field_validator("device")
    @classmethod
    def _a_device(cls, value: str) -> str:
        if not _DEVICE.fullmatch(value):
            raise ValueError("is no device; write auto, cpu, cuda, cuda:1 or mps")
        return value

    @field_validator("metric", "backbones")
    @classmethod
    def _each_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = sorted({v for v in value or () if (value or ()).count(v) > 1})
        if twice:
            raise ValueError(f"names {', '.join(twice)} twice")
        return value


def read_config(
    path: Path | None,
    assignments: Sequence[str] = (),
    values: Mapping[str, Any] = {},
    *,
    plugins: Plugins | None = None,
) -> StudyConfig:
    """Reads a study file, with what was said beside it.

    Args:
        path: A study.toml, or a folder that holds one; None starts from the defaults.
        assignments: ``key=value`` as typed, the value in TOML's notation or as bare text; a hyperparameter of
            the trainer may be named without ``fixed.``.
        values: Keys, dotted or not, with their values; None says nothing.
        plugins: Also checks what depends on them: trainer, metrics, hyperparameters. Without them that is left
            to `autotune.plan.resolve`.

    Raises:
        ConfigError: With every mistake there is.
        UsageError: The file cannot be read.
    """
    raw = {} if path is None else read_table(_file(path))
    where = "the request" if path is None else str(path)
    newer = raw.get("format")
    if type(newer) is int and newer > FORMAT:
        raise ConfigError(
            [f"format = {newer}: is newer than this autotune reads ({FORMAT}); pip install -U autotune-vision"],
            where=where,
        )
    recipe = _recipe_fields(raw, assignments, values, plugins)
    wishes = Wishes(StudyConfig, recipe)
    wishes.add(assignments, values)
    raw = wishes.over(raw)
    also = {name: f"write it as fixed.{name}" for name in recipe or ()}
    problems = list(wishes.problems)
    try:
        config = StudyConfig.model_validate(raw)
    except ValidationError as error:
        found = lines_of(error, StudyConfig, also=also)
        problems += [line for lines in found.values() for line in lines]
        sound = {"data": "missing", **{k: v for k, v in raw.items() if k not in found}}
        config = StudyConfig.model_validate({} if "" in found else sound)
        wrong = frozenset(found)
    else:
        wrong = frozenset()
    if plugins is not None:
        problems += config_problems(config, plugins, skip=wrong)
    if problems:
        raise ConfigError(problems, where=where)
    return config


def read_table(path: Path, *, remedy: str = "autotune init DATA writes one") -> dict[str, Any]:
    """Reads a TOML file; `remedy` says what to do where there is none.

    Raises:
        UsageError: It is not there, or it is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file", hint=remedy) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"it is no TOML: {error}"], where=str(path)) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error


def _file(path: Path) -> Path:
    return path / "study.toml" if path.is_dir() else path


def _recipe_fields(
    raw: Mapping[str, Any], assignments: Sequence[str], values: Mapping[str, Any], plugins: Plugins | None
) -> tuple[str, ...] | None:
    """The hyperparameters of the trainer that is asked for; None where they cannot be known."""
    if plugins is None:
        return None
    trainer = raw.get("trainer", StudyConfig.model_fields["trainer"].default)
    trainer = values.get("trainer") or trainer
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        trainer = value.strip("'\" ") if key.strip() == "trainer" else trainer
    return tuple(plugins.trainers[trainer].recipe.model_fields) if trainer in plugins.trainers else None
