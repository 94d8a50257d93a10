"""``autotune clean``."""

from __future__ import annotations

import click

from autotune.cli import options, terminal


@click.command(short_help="Remove what a study no longer needs.")
@options.study_argument
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@options.json_option
def command(study: str, dry_run: bool, as_json: bool) -> None:
    """Remove what STUDY no longer needs: checkpoints of trials that lost, and what deaths left half done.

    The best model, checkpoints of finalists, and attempts that run or can go on stay.
    """
    from pathlib import Path

    from autotune.engine.cleaning import clean
    from autotune.reporting import listings

    done = clean(Path(study), dry_run=dry_run)
    if as_json:
        terminal.show_json(done)
    else:
        click.echo(listings.cleaned(done))
