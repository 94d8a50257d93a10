"""``autotune plugins``."""

from __future__ import annotations

import click

from autotune.cli import options, terminal


@click.command(short_help="List plugins.")
@options.json_option
def command(as_json: bool) -> None:
    """List the installed plugins, what each offers, and what is wrong with those that were skipped."""
    from autotune.plugins import load_plugins
    from autotune.reporting import listings

    found = load_plugins().listing()
    if as_json:
        terminal.show_json(found)
    else:
        click.echo(listings.plugins(found))
