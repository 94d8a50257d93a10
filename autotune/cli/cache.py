"""``autotune cache``."""

from __future__ import annotations

import click

from autotune.cli import options, terminal


@click.group(short_help="List or clear what was computed once.")
def command() -> None:
    """List or clear what trials keep for each other: activations of frozen blocks, decoded images.

    It lies in the cache folder (AUTOTUNE_CACHE_DIR), and whatever is missing there is computed anew.
    """


@command.command(name="ls", short_help="List what is kept.")
@options.json_option
def ls(as_json: bool) -> None:
    """List what is kept, the last used first, with its size, and how much may be kept."""
    from autotune import cache_entries
    from autotune.cache import cache_folder
    from autotune.reporting import listings

    found = cache_entries.contents(cache_folder())
    if as_json:
        terminal.show_json(found)
    else:
        click.echo(listings.cache(found))


@command.command(short_help="Remove what is kept.")
@click.option("--kind", help="Only what is of this kind; `autotune cache ls` shows the kinds.")
def clear(kind: str | None) -> None:
    """Remove what is kept; what a running search has open stays, and so does what only another user may remove."""
    from autotune import cache_entries
    from autotune.byte_sizes import format_bytes
    from autotune.cache import cache_folder

    cleared = cache_entries.clear(cache_folder(), kind)
    click.echo(f"{format_bytes(cleared.nbytes)} freed")
    if kept := cleared.in_use:
        click.echo(f"{len(kept)} in use, {format_bytes(sum(e.nbytes for e in kept))}: kept")
    for path in cleared.denied:
        click.echo(f"{path}: kept; only its owner may remove it")
