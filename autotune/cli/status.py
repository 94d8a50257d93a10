"""``autotune status``."""

from __future__ import annotations

import click

from autotune.cli import options, terminal


@click.command(short_help="Say how far a study is.")
@options.study_argument
@options.json_option
def command(study: str, as_json: bool) -> None:
    """Say how far STUDY is: its state, trials, time spent, best score, and the trial that runs."""
    from autotune import api
    from autotune.reporting import messages
    from autotune.reporting.records import study_record

    found = api.open(study)
    if as_json:
        terminal.show_json(study_record(found))
    else:
        click.echo(messages.status(found))
