"""The command line: a thin skin over the Python API.

Every command is a file of this package with a click command named ``command``; it is imported when it is
called. Help and listings need the table below and the metadata of installed plugins, nothing else.
"""

from __future__ import annotations

import time

STARTED = time.monotonic()
"""When this process began, as near as Python can tell: imports count towards ``--time``."""

import importlib.metadata  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402

import click  # noqa: E402

COMMANDS = {
    "search": "Search for the best fine-tuned model of your images.",
    "worker": "Join the search of a study.",
    "improve": "Fine-tune a model that is already trained, and say whether it became better.",
    "check": "Check images before a search: broken, copied, oddly sized, wrongly labelled.",
    "init": "Write a commented study.toml for your images.",
    "show": "Show what a search would do: the resolved plan and its space.",
    "lr-find": "Look for a learning rate by a range test.",
    "status": "Say how far a study is.",
    "trials": "List a study's trials.",
    "best": "Show a study's best model.",
    "report": "Write a study's report.md and trials.csv.",
    "predict": "Predict images with a study's best model.",
    "evaluate": "Measure a study's best model on its locked test images.",
    "backbones": "List pretrained networks.",
    "cache": "List or clear what was computed once.",
    "clean": "Remove what a study no longer needs.",
    "storage": "Mend what a study is stored in.",
    "plugins": "List plugins and what they offer.",
    "new": "Start a plugin of your own.",
}


class Commands(click.Group):
    """Built-in commands from files of this package, guests' from the entry-point group ``autotune.commands``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, built-ins first."""
        return [*COMMANDS, *sorted(_guests())]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Imports a command."""
        if name in COMMANDS:
            module = importlib.import_module(f"autotune.cli.{name.replace('-', '_')}")
            command: click.Command = module.command
            return command
        guest = _guests().get(name)
        return None if guest is None else _load(guest)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds a command, or says which one was meant."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS and args[0] not in _guests():
            from autotune.errors import UnknownName

            raise UnknownName("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        if guests := _guests():
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, f"From {_origin(guests[name])}.") for name in sorted(guests)])


def main(arguments: Sequence[str] | None = None) -> None:
    """The ``autotune`` command; always ends by raising `SystemExit`."""
    from autotune.cli.terminal import run

    sys.exit(run(cli, arguments))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="autotune-vision", prog_name="autotune")
def cli() -> None:
    """Find the best fine-tuned image model for your own data within a budget, and see why.

    Begin with a folder that has one folder of images a class:

    autotune search images/ --time 15m
    """


def _guests() -> dict[str, importlib.metadata.EntryPoint]:
    points = importlib.metadata.entry_points(group="autotune.commands")
    return {point.name: point for point in points if point.name not in COMMANDS}


def _load(point: importlib.metadata.EntryPoint) -> click.Command:
    from autotune.errors import PluginError

    try:
        command = point.load()
    except Exception as error:
        raise PluginError(
            f"the command {point.name!r} of {_origin(point)} cannot be imported: {type(error).__name__}: {error}",
            hint=f"upgrade or remove {_origin(point)}",
        ) from error
    if not isinstance(command, click.Command):
        raise PluginError(f"the command {point.name!r} of {_origin(point)} is {command!r}, no click command")
    return command


def _origin(point: importlib.metadata.EntryPoint) -> str:
    return "an unknown distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"
