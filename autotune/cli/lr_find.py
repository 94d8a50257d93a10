"""``autotune lr-find``."""

from __future__ import annotations

from pathlib import Path

import click

from autotune.cli import options, terminal


@click.command("lr-find", short_help="Look for a learning rate.")
@click.argument("words", metavar="[DATA] [KEY=VALUE]...", nargs=-1)
@click.option("--csv", "file", type=click.Path(path_type=Path), help="Write the curve to this file.")
@options.json_option
def command(words: tuple[str, ...], file: Path | None, as_json: bool) -> None:
    """Look for a learning rate by a range test: some 100 steps whose rates rise from 1e-6 to 1.

    The words are those of `autotune search`; the recipe is the one that a search would start from, e.g.
    autotune lr-find images/ backbones=timm/resnet18 fixed.unfreeze=2. Where the smoothed training loss falls fastest
    lies the suggested rate of the head; the rates of blocks keep their ratio to it. No study is begun.
    """
    from autotune import ratefinding
    from autotune.reporting import rates
    from autotune.reporting.live import Looking

    data, rest = options.split_data(words)
    found = ratefinding.sweep(data, options.assignments(rest), progress=Looking())
    if file is not None:
        rates.write_rates(file, found.curve)
    if as_json:
        terminal.show_json(rates.rates_record(found.curve, found.recipe))
    else:
        click.echo(rates.rates(found.curve, found.recipe))
