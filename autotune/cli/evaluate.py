"""``autotune evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from autotune.cli import options, terminal

if TYPE_CHECKING:
    from autotune.model import Averaging


@click.command(short_help="Measure the best model on the test images.")
@options.study_argument
@click.option("--unlock-test", is_flag=True, help="Open the test set; that is recorded.")
@options.task_option
@options.tta_option
@options.device_option
@options.json_option
def command(study: str, unlock_test: bool, task: str | None, tta: Averaging, device: str, as_json: bool) -> None:
    """Measure the best model of STUDY on its locked test images, which no search has looked at.

    Every opening is recorded in the study's folder and on this machine, and the result says how many there were.
    Of several tasks each has a test set of its own; without --task all are opened.
    """
    from autotune import api
    from autotune.reporting import messages

    evaluation = api.evaluate(study, unlock_test=unlock_test, device=device, task=task, tta=tta)
    if as_json:
        terminal.show_json(evaluation)
    else:
        click.echo(messages.evaluation(evaluation))
