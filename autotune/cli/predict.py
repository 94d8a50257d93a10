"""``autotune predict``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from autotune.cli import options, terminal
from autotune.errors import DataError

if TYPE_CHECKING:
    from autotune.model import Averaging


@click.command(short_help="Predict images.")
@click.argument("model")
@click.argument("images", nargs=-1, required=True)
@click.option("--top", default=1, show_default=True, help="How many classes to name for each image.")
@options.task_option
@options.tta_option
@options.device_option
@options.json_option
def command(
    model: str, images: tuple[str, ...], top: int, task: str | None, tta: Averaging, device: str, as_json: bool
) -> None:
    """Predict IMAGES, files or folders, with MODEL: a study, or its best/ folder.

    A model of several tasks answers for the first one unless --task names another. Prints path, class and
    probability, one image a line (with --json one object a line). An image that cannot be read is one line on
    standard error; the others go on, and the exit code is 3.
    """
    from autotune import api
    from autotune.after.predicting import predict_files
    from autotune.reporting import messages

    found = api.load(model, device)
    if task is not None:
        found = found.task(task)
    bad = 0
    for prediction in predict_files(found, images, top=top, tta=tta):
        bad += prediction.problem is not None
        if as_json:
            terminal.show_json_line(prediction)
        else:
            click.echo(messages.prediction(prediction), err=prediction.problem is not None)
    if bad:
        raise DataError(f"{bad} of the images could not be read")
