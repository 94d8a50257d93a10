"""``autotune worker``."""

from __future__ import annotations

import contextlib

import click

from autotune.cli import options


@click.command(short_help="Join the search of a study.")
@options.study_argument
@options.grace_option
@click.option("--quiet", is_flag=True, help="Print why it left only.")
def command(study: str, grace: float, quiet: bool) -> None:
    """Run trials of a study beside other workers, here or on any machine that sees its folder.

    STUDY is the study's folder. A worker may join and leave at any time; what it leaves undone, others take over.
    It leaves by itself when nothing is left to do.
    """
    from pathlib import Path

    from autotune import joining
    from autotune.reporting import messages
    from autotune.reporting.live import Live

    live = None if quiet else Live()
    with live or contextlib.nullcontext():
        joined = joining.join(Path(study), grace=grace, observers=[live] if live else [])
    click.echo(messages.left(joined.study, joined.reason))
