"""``autotune best``."""

from __future__ import annotations

import click

from autotune.cli import options, terminal


@click.command(short_help="Show a study's best model.")
@options.study_argument
@options.json_option
def command(study: str, as_json: bool) -> None:
    """Show the best model of STUDY: where it lies, its scores, its recipe, how to train it again."""
    from autotune import api
    from autotune.after import handover
    from autotune.reporting import messages
    from autotune.reporting.records import best_record

    found = api.open(study)
    best = handover.best(found)
    if as_json:
        terminal.show_json(best_record(best))
    else:
        click.echo(messages.best(found, best))
