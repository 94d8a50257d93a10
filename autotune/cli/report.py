"""``autotune report``."""

from __future__ import annotations

import click

from autotune.cli import options, terminal


@click.command(short_help="Write a study's report.md and trials.csv.")
@options.study_argument
@options.json_option
def command(study: str, as_json: bool) -> None:
    """Write report.md and trials.csv into the folder of STUDY."""
    from autotune import api
    from autotune.reporting.report import write_report

    path = write_report(api.open(study))
    if as_json:
        terminal.show_json({"report": path, "trials": path.with_name("trials.csv")})
    else:
        click.echo(path)
