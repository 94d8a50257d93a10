"""``autotune improve``."""

from __future__ import annotations

import contextlib

import click

from autotune.cli import STARTED, options, terminal


@click.command(short_help="Fine-tune a trained model further.")
@click.argument("model")
@click.argument("data")
@click.argument("words", metavar="[KEY=VALUE]...", nargs=-1)
@options.budget_options
@options.metric_option
@options.cache_size_option
@options.runs_option
@options.json_option
@click.option("--quiet", is_flag=True, help="Print the result only.")
def command(
    model: str,
    data: str,
    words: tuple[str, ...],
    time: str | None,
    trials: str | None,
    name: str | None,
    metric: str | None,
    cache_size: str | None,
    runs: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fine-tune a model that is already trained, and say whether it became better.

    MODEL is a study, the best/ folder of one, or timm/NAME@weights.safetensors. Backbones are not searched;
    the head is kept where the model's classes are those of DATA.
    """  # fmt: skip
    from autotune import improving
    from autotune.reporting import messages, planned
    from autotune.reporting.live import Live, Looking

    assigned = options.assignments(words, time=time, trials=trials, name=name, metric=metric, cache_size=cache_size)
    prepared = improving.prepare(model, data, assigned, runs=runs, progress=None if quiet else Looking())
    if not (quiet or as_json):
        click.echo(planned.opening(prepared.plan))
    live = None if quiet else Live(said=() if as_json else prepared.plan.reasons)
    with live or contextlib.nullcontext():
        improvement = improving.conduct(prepared, observers=[live] if live else [], started=STARTED)
    if as_json:
        from autotune.reporting.records import improvement_record

        terminal.show_json(improvement_record(improvement))
    else:
        click.echo(messages.closing(improvement.study, went_on=improvement.went_on))
        click.echo(improvement.verdict)
