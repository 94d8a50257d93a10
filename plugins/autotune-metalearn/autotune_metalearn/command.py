"""``autotune metalearn``: meta-trains, evaluates, renders characters."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from autotune_metalearn.comparing import Comparison
    from autotune_metalearn.learning import Learned, Look

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")


class _Group(click.Group):
    """Takes a first word that is no command for the data to learn from."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["learn", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Group, short_help="Meta-learn a backbone for tasks of a few images a class.")
def command() -> None:
    """Meta-learn a backbone for tasks of a few images a class, from images of many classes.

    autotune metalearn DATA --method anil --out FOLDER
    """


@command.command(short_help="Meta-train; `learn` may be left out.")
@click.argument("data")
@click.option("--method", type=click.Choice(["anil", "reptile"]), required=True, help="What is meta-learned.")
@click.option("--out", required=True, help="Folder to write; study:FOLDER is a backbone then.")
@click.option("--backbone", default="timm/tf_efficientnet_lite0", show_default=True, help="Where it starts.")
@click.option("--img-size", type=int, help="Side of the network's input in pixels; by default chosen for the images.")
@click.option("--ways", type=int, help="Classes of a task (5).")
@click.option("--shots", type=int, help="Images of each class that a task is adapted to (5).")
@click.option("--queries", type=int, help="Further images of each class (10).")
@click.option("--steps", type=int, help="Outer steps (anil 1500, reptile 300).")
@click.option("--tasks", type=int, help="Tasks of an outer step (anil 16, reptile 4).")
@click.option("--inner-steps", type=int, help="Steps that adapt to a task (anil 10, reptile 8).")
@click.option("--inner-lr", type=float, help="Their rate (anil 2, reptile 0.0005).")
@click.option("--outer-lr", type=float, help="The outer rate (anil 0.0003, reptile 1).")
@click.option("--width", type=int, help="Length of the projected vectors, for anil (256).")
@click.option("--unfreeze", type=int, help="Blocks that adapt beside the head, for reptile (1).")
@click.option("--seed", type=int, help="Everything random derives from it (0).")
@_device
@_json
def learn(
    data: str,
    method: str,
    out: str,
    backbone: str,
    img_size: int | None,
    device: str,
    as_json: bool,
    **given: int | float | None,
) -> None:
    """Meta-train on images of many classes, and write a folder that study:FOLDER takes as a backbone.

    DATA is a folder with one folder of images a class. Three classes in five, by the hashes of their names, are
    learned from; by some the best step is chosen; a quarter is kept for `autotune metalearn evaluate`.
    """
    from autotune_metalearn.learning import learn as run

    def progress(look: Look) -> None:
        click.echo(f"step {look.step}: {_percent(look.accuracy, look.interval)} on validation tasks", err=True)

    learned = run(
        data,
        method,
        out,
        backbone=backbone,
        img_size=img_size,
        device=device,
        progress=None if as_json else progress,
        **given,
    )
    _show_json(learned) if as_json else click.echo(_of_learned(learned))


@command.command(short_help="Measure on classes never seen.")
@click.argument("folder")
@click.argument("data")
@click.option("--shots", type=int, multiple=True, default=(1, 5), show_default=True, help="Images of each class.")
@click.option("--queries", default=10, show_default=True, help="Images of each class that a task asks about.")
@click.option("--episodes", default=600, show_default=True, help="Tasks for each number of shots.")
@click.option("--seed", default=0, show_default=True, help="The same gives the same tasks.")
@_device
@_json
def evaluate(
    folder: str,
    data: str,
    shots: tuple[int, ...],
    queries: int,
    episodes: int,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Compare what was meta-learned in FOLDER with tuned heads on plain features, on classes of DATA never seen.

    The settings of every way are chosen on tasks of the validation classes. Intervals are 95 % over tasks.
    """
    from autotune_metalearn.comparing import compare

    found = compare(folder, data, shots=shots, queries=queries, episodes=episodes, seed=seed, device=device)
    _show_json(found) if as_json else click.echo(_of_comparison(found))


@command.command(short_help="Write characters of this machine's fonts as class folders.")
@click.argument("folder")
@click.option("--fonts", multiple=True, help="Folders of fonts; by default /usr/share/fonts.")
@click.option("--scripts", multiple=True, help="Scripts such as greek; by default all that are known.")
@click.option("--size", default=48, show_default=True, help="Side of the images in pixels.")
@click.option("--fewest", default=15, show_default=True, help="Images that a character must have.")
@click.option("--most", default=40, show_default=True, help="Images of a character at most.")
@_json
def render(
    folder: str, fonts: tuple[str, ...], scripts: tuple[str, ...], size: int, fewest: int, most: int, as_json: bool
) -> None:
    """Write characters as grey images into FOLDER, one folder a character, one image a font: many small classes."""
    from autotune_metalearn.render_characters import render as run

    found = run(folder, fonts=fonts or None, scripts=scripts or None, size=size, fewest=fewest, most=most)
    if as_json:
        _show_json(found)
        return
    click.echo(
        f"{found.classes} characters, {found.images:,} images of {found.fonts} fonts in {found.folder}; left out: "
        f"{found.rare} characters with fewer than {fewest} images, {found.alike} that look like another one"
    )


def _of_learned(learned: Learned) -> str:
    first, best = learned.curve[0], max(learned.curve, key=lambda look: look.accuracy)
    train, val, test = learned.classes
    lines = [
        f"{train} classes learned from, {val} to choose by, {test} kept for measuring",
        f"before: {_percent(first.accuracy, first.interval)}; kept, step {learned.step}: "
        f"{_percent(best.accuracy, best.interval)} (optimistic: it was chosen by this)",
    ]
    if learned.step == 0:
        lines.append("no step was better than the start: the result is the start")
    return "\n".join([*lines, f"a backbone now: study:{learned.folder}"])


def _of_comparison(found: Comparison) -> str:
    lines = [f"{found.ways}-way, {found.episodes} tasks from {found.classes} classes never seen; 95 % over tasks"]
    for difference in found.differences:
        lines += ["", f"{difference.shots} shot{'s' * (difference.shots != 1)}"]
        for score in found.scores:
            if score.shots == difference.shots:
                name = f"{found.method}, adapted" if score.head == "adapted" else f"{score.head}, {score.features}"
                lines.append(f"  {name:24} {_percent(score.accuracy, score.interval)}   {score.settings}")
        points = f"{100 * difference.accuracy:+.1f} ± {100 * difference.interval:.1f} points"
        lines.append(f"  {found.method} less {difference.against} on pretrained features: {points}")
    return "\n".join(lines)


def _percent(share: float, half: float) -> str:
    return f"{100 * share:.1f} ± {100 * half:.1f} %"


def _show_json(record: Any) -> None:
    click.echo(json.dumps(dataclasses.asdict(record), indent=2, default=_plain))


def _plain(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} has no place in JSON")
