"""``autotune init``."""

from __future__ import annotations

from pathlib import Path

import click

from autotune.cli import options


@click.command(short_help="Write a commented study.toml.")
@click.argument("words", metavar="[DATA]... [KEY=VALUE]...", nargs=-1)
@click.option("--output", "-o", default="study.toml", show_default=True, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite the file.")
def command(words: tuple[str, ...], output: Path, force: bool) -> None:
    """Write a commented study.toml for DATA, to be changed and given to `autotune search`."""
    from autotune import drafting

    data, rest = options.split_data(words)
    drafting.write_draft(output, data, options.assignments(rest), force=force)
    click.echo(f"{output} written; next: autotune search {output}")
