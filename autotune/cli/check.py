"""``autotune check``."""

from __future__ import annotations

import click

from autotune.cli import options, terminal
from autotune.errors import DataError


@click.command(short_help="Check images before a search.")
@click.argument("data")
@click.option("--quick", is_flag=True, help="Read files without decoding them; what lies in none is decoded.")
@click.option("--probe", is_flag=True, help="Also find labels that a linear probe doubts.")
@click.option(
    "--backbone",
    help="What the probe reads, e.g. timm/resnet18, or pixels; by default an installed one. Means --probe.",
)
@options.device_option
@options.json_option
def command(data: str, quick: bool, probe: bool, backbone: str | None, device: str, as_json: bool) -> None:
    """Check the images of DATA before a search costs a night.

    Finds broken files, copies, images that look like one of another class or another side, tiny, huge and oddly
    shaped images, classes with few images, and with --probe labels that are probably wrong. What is decoded here a
    search need not decode again. The exit code is 0 if a search would start, and 3 if the images would stop it: more
    than one in a hundred are broken, or a class has fewer than two images.
    """
    from autotune import api
    from autotune.reporting import inspections
    from autotune.reporting.live import Looking

    reads = backbone or ("auto" if probe else None)
    found = api.check(data, quick=quick, probe=reads, device=device, progress=Looking())
    if as_json:
        terminal.show_json(inspections.record(found))
    else:
        click.echo(inspections.page(found))
    if found.problem is not None:
        raise DataError(f"a search would not start: {found.problem}", hint=found.hint)
