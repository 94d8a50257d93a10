"""``autotune trials``."""

from __future__ import annotations

import click

from autotune.cli import options, terminal


@click.command(short_help="List a study's trials.")
@options.study_argument
@click.option("--state", type=click.Choice(["complete", "pruned", "failed", "running"]), help="Only those.")
@click.option("--sort", type=click.Choice(["number", "value"]), default="number", show_default=True)
@options.json_option
def command(study: str, state: str | None, sort: str, as_json: bool) -> None:
    """List the trials of STUDY with their state, score and recipe."""
    from autotune import api
    from autotune.reporting import messages
    from autotune.reporting.numbers import selected
    from autotune.reporting.records import trial_record

    found = api.open(study)
    trials = selected(found, state=state, by_value=sort == "value")
    if as_json:
        terminal.show_json([trial_record(t) for t in trials])
    else:
        click.echo(messages.trials(found, trials))
