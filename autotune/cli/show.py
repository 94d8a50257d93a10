"""``autotune show``."""

from __future__ import annotations

import click

from autotune.cli import options, terminal


@click.command(short_help="Show what a search would do.")
@click.argument("words", metavar="[DATA]... [KEY=VALUE]...", nargs=-1)
@options.budget_options
@options.metric_option
@options.learn_from_option
@options.runs_option
@options.json_option
def command(
    words: tuple[str, ...],
    time: str | None,
    trials: str | None,
    name: str | None,
    metric: str | None,
    learn_from: str | None,
    runs: str,
    as_json: bool,
) -> None:
    """Show what `autotune search` with the same words would do: the resolved plan and its space.

    DATA may also be the folder of a study. Nothing is trained or written.
    """
    from autotune import searching
    from autotune.reporting import planned
    from autotune.reporting.live import Looking

    data, rest = options.split_data(words)
    assigned = options.assignments(rest, time=time, trials=trials, name=name, metric=metric, learn_from=learn_from)
    plan = searching.prepare(data, assigned, runs=runs, progress=Looking())
    if as_json:
        terminal.show_json(planned.plan_record(plan))
    else:
        click.echo(planned.opening(plan))
        click.echo(planned.space(plan))
