"""``autotune search``."""

from __future__ import annotations

import contextlib

import click

from autotune.cli import STARTED, options, terminal


@click.command(short_help="Search for the best fine-tuned model.")
@click.argument("words", metavar="[DATA]... [KEY=VALUE]...", nargs=-1)
@options.budget_options
@options.metric_option
@options.learn_from_option
@options.cache_size_option
@options.lease_options
@click.option("--workers", type=int, help="Search with this many processes of this machine.")
@click.option("--gpus", help="Search with workers on these GPUs, e.g. 0,1.")
@click.option("--per-gpu", type=int, help="Workers on each of these GPUs; 1 unless said otherwise.")
@click.option("--launcher", help="What starts the workers: local unless said otherwise.")
@options.grace_option
@options.runs_option
@options.json_option
@click.option("--quiet", is_flag=True, help="Print the result only.")
def command(
    words: tuple[str, ...],
    time: str | None,
    trials: str | None,
    name: str | None,
    metric: str | None,
    learn_from: str | None,
    cache_size: str | None,
    lease: str | None,
    retries: str | None,
    workers: int | None,
    gpus: str | None,
    per_gpu: int | None,
    launcher: str | None,
    grace: float,
    runs: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Search for the best fine-tuned model of your images.

    DATA is a folder with one folder of images a class, an archive of such folders (.zip, .tar, .tar.gz), a table of
    paths and labels (.csv, .parquet), a name such as digits, torchvision:CIFAR10 or hf:PATH (`autotune plugins` lists
    them), or a study.toml. Several places are several tasks, which trainer=multitask trains on one backbone.
    KEY=VALUE sets any key of study.toml: metric=balanced_accuracy, backbones=['timm/resnet18'],
    fixed.lr=0.001, space.drop.high=0.3, img_size=96.

    Running the same command again goes on towards the same totals; larger totals extend the study. With --workers or
    --gpus several processes search; more may join from elsewhere: autotune worker RUN.
    """
    from autotune import searching
    from autotune.launch import Crew
    from autotune.reporting import messages, planned
    from autotune.reporting.live import Live, Looking

    data, rest = options.split_data(words)
    assigned = options.assignments(
        rest,
        time=time,
        trials=trials,
        name=name,
        metric=metric,
        learn_from=learn_from,
        cache_size=cache_size,
        lease=lease,
        retries=retries,
    )
    crew = Crew.of(workers, gpus, per_gpu, grace, launcher)
    plan = searching.prepare(data, assigned, runs=runs, progress=None if quiet else Looking())
    if not (quiet or as_json):
        click.echo(planned.opening(plan))
    live = None if quiet else Live(said=() if as_json else plan.reasons)
    with live or contextlib.nullcontext():
        observers = [live] if live else []
        outcome = searching.conduct(plan, observers=observers, started=STARTED, crew=crew, grace=grace)
    if as_json:
        from autotune.reporting.records import study_record

        terminal.show_json({**study_record(outcome.study), "went_on": outcome.went_on})
    else:
        click.echo(messages.closing(outcome.study, went_on=outcome.went_on))
