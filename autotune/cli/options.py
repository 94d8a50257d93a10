"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from autotune.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
study_argument = click.argument("study")
task_option = click.option("--task", help="Of a study of several tasks: this one only.")
tta_option = click.option(
    "--tta",
    type=click.Choice(["none", "flip", "crops"]),
    default="none",
    show_default=True,
    help="Test-time augmentation: the mean over each image and its mirror image, or over five crops of it.",
)
runs_option = click.option("--runs", default="runs", show_default=True, help="Folder of the studies.")


def budget_options(function: F) -> F:
    """``--time``, ``--trials`` and ``--name``, the same as the keys of those names."""
    for decorate in (
        click.option("--name", help="Name of the study; its folder is RUNS/NAME."),
        click.option("--trials", help="Total number of trials."),
        click.option("--time", help="Total time, e.g. 15m or 1h30m, until the best model is saved."),
    ):
        function = decorate(function)
    return function


metric_option = click.option(
    "--metric",
    help="What is optimised on the validation images: accuracy, which is the default, balanced_accuracy, macro_f1, "
    "log_loss, auroc or cohen_kappa.",
)

cache_size_option = click.option(
    "--cache-size", help="Disk for what is computed once, e.g. 20GB; by default a tenth of the free disk."
)


def lease_options(function: F) -> F:
    """``--lease`` and ``--retries``, the same as the keys of those names."""
    for decorate in (
        click.option("--retries", help="How often what died is started again; 4 unless said otherwise."),
        click.option("--lease", help="How long a worker may seem dead before its trial is taken over; 30s."),
    ):
        function = decorate(function)
    return function


def _seconds(context: click.Context, option: click.Parameter, value: str) -> float:
    from autotune.durations import parse_duration

    try:
        return parse_duration(value)
    except ValueError as error:
        raise UsageError(f"{option.opts[0]} {value!r}: {error}") from None


grace_option = click.option(
    "--grace",
    default="30s",
    show_default=True,
    callback=_seconds,
    help="Time from SIGTERM or SIGUSR1 until everything is saved and gone.",
)

learn_from_option = click.option(
    "--learn-from", help="Past studies to learn from: a folder of studies, e.g. runs/, or one study."
)


def assignments(words: tuple[str, ...], **options: str | None) -> tuple[str, ...]:
    """The words ``key=value`` with the options that were given written as such.

    Raises:
        UsageError: A word is no ``key=value``, or its key is one of the command's other options.
    """
    params = click.get_current_context().command.params
    others = {p.opts[0]: p for p in params if isinstance(p, click.Option) and p.name not in options}
    for word in words:
        key, equals, value = word.partition("=")
        option = others.get("--" + key.replace("_", "-"))
        if equals and option is not None:
            raise UsageError(
                f"{word}: {key} is an option of this command, not a key of a study",
                hint=option.opts[0] if option.is_flag else f"{option.opts[0]} {value}",
            )
        if not equals:
            raise UsageError(
                f"{word!r} is no key=value", hint="e.g. autotune search images/ time=30m 'space.lr.high=0.01'"
            )
    return (*words, *(f"{key}={value}" for key, value in options.items() if value is not None))


def split_data(words: tuple[str, ...]) -> tuple[str | tuple[str, ...] | None, tuple[str, ...]]:
    """The places of the data, which are a command's first words up to a ``key=value``, and the other words.

    One place is text, several are a tuple, none is None.
    """
    count = next((i for i, word in enumerate(words) if _assigns(word)), len(words))
    places = words[:count]
    return (places[0] if count == 1 else places or None), words[count:]


def _assigns(word: str) -> bool:
    """Whether a word is a ``key=value``, and neither a path nor a place with options, ``SCHEME:NAME:OPTION=VALUE``."""
    key, equals, _ = word.partition("=")
    return bool(equals) and ":" not in key and not Path(word).exists()
