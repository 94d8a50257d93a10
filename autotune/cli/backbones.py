"""``autotune backbones``."""

from __future__ import annotations

import click

from autotune.cli import options, terminal


@click.command(short_help="List pretrained networks.")
@click.argument("patterns", nargs=-1)
@click.option("--params", help="Millions of parameters: a maximum, or MIN..MAX.")
@click.option("--blocks", help="Blocks that can be unfrozen: a maximum, or MIN..MAX.")
@click.option("--cost", help="1e9 multiply-accumulates: a maximum, or MIN..MAX.")
@click.option("--long", is_flag=True, help="Show parameters, blocks, image size, cost and licence.")
@options.json_option
def command(
    patterns: tuple[str, ...], params: str | None, blocks: str | None, cost: str | None, long: bool, as_json: bool
) -> None:
    """List pretrained networks whose names match one of PATTERNS, e.g. 'timm/resnet*' or mobilenet.

    Parameters, blocks and cost are found by building each network, so name some: otherwise it takes a while.
    """
    from autotune import listing
    from autotune.reporting import listings

    if not (long or as_json or params or blocks or cost):
        for name in listing.backbone_names(patterns):
            click.echo(name)
        return
    found = listing.backbones(patterns, params=params, blocks=blocks, cost=cost)
    if as_json:
        terminal.show_json(list(found))
    else:
        click.echo(listings.backbones(list(found)))
