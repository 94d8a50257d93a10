"""``autotune new``."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(short_help="Start a plugin of your own.")
def command() -> None:
    """Start something of your own."""


@command.command(short_help="Write a plugin.")
@click.argument("name")
@click.option("--into", default=".", show_default=True, type=click.Path(path_type=Path), help="Where it is put.")
def plugin(name: str, into: Path) -> None:
    """Write a distribution autotune-NAME with a trainer, its tests and a README, ready to be installed."""
    from autotune.templates import new_plugin

    folder = new_plugin(name, into)
    click.echo(f"{folder} written; next: pip install -e {folder}, then autotune plugins")
