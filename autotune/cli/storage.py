"""``autotune storage``."""

from __future__ import annotations

import click

from autotune.cli import options, terminal


@click.group(short_help="Mend what a study is stored in.")
def command() -> None:
    """Mend what a study is stored in, where a disk or a copy has damaged it."""


@command.command(short_help="Rebuild a damaged journal.")
@options.study_argument
@options.json_option
def salvage(study: str, as_json: bool) -> None:
    """Rebuild the damaged journal of STUDY from what is whole of it and from what its trials' folders say.

    The damaged one is kept beside it, and what is lost is said.
    """
    from pathlib import Path

    from autotune.engine.salvage import salvage as rebuild
    from autotune.reporting import listings

    done = rebuild(Path(study))
    if as_json:
        terminal.show_json(done)
    else:
        click.echo(listings.salvaged(done))
