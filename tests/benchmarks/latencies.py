"""Measures what a study's bookkeeping costs when it is long: resuming it, and ask, report and tell.

    python tests/benchmarks/latencies.py                          # 100, 1,000 and 5,000 trials, by chance and by TPE
    python tests/benchmarks/latencies.py --trials 200 --json latencies.json

A study of so many trials is made, and a search goes on with it by a trainer that does nothing but look at the clock:
report is from an epoch's yield until the trainer is asked for the next one, tell from its end until the observers are
told, ask from there until the next trial's first line. So what is measured is everything that a trial pays. It ends
with 1 if resuming 5,000 trials takes 5 s or more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from autotune import Checkpoint, Data, DataSourceSpec, Epoch, Float, Model, Recipe, Run, Trainer, TrainerSpec, hookimpl
from autotune.config import StudyConfig
from autotune.engine import run_search
from autotune.engine.recipes import TrialPlan
from autotune.engine.storage import FILE, SEARCH, open_storage
from autotune.plan import resolve
from autotune.plugins import Plugins
from autotune.testing import MemorySource, tiny_images

GOAL = 5.0
EPOCHS, MORE = 4, 12


class LongRecipe(Recipe):
    """Eight hyperparameters, as many as a usual study has."""

    a: Annotated[float, Float(0.0, 1.0)] = Field(0.5, description="The higher the better.")
    b: Annotated[float, Float(0.0, 1.0)] = Field(0.5, description="Of no use.")
    c: Annotated[float, Float(0.0, 1.0)] = Field(0.5, description="Of no use.")
    d: Annotated[float, Float(0.0, 1.0)] = Field(0.5, description="Of no use.")
    e: Annotated[float, Float(0.0, 1.0)] = Field(0.5, description="Of no use.")
    f: Annotated[float, Float(0.0, 1.0)] = Field(0.5, description="Of no use.")
    g: Annotated[float, Float(0.0, 1.0)] = Field(0.5, description="Of no use.")
    h: Annotated[float, Float(0.0, 1.0)] = Field(0.5, description="Of no use.")


@dataclass
class Clock:
    """When things happened, in seconds.

    Attributes:
        begun: When the search was called.
        resume: From there to the first line of the first trial.
        spans: Durations by what they are of.
        last: When what is measured began.
    """

    begun: float = 0.0
    resume: float | None = None
    spans: dict[str, list[float]] = field(default_factory=lambda: {"ask": [], "report": [], "tell": []})
    last: float = 0.0

    def end(self, what: str) -> None:
        """Ends a span and begins another one."""
        now = time.perf_counter()
        if what == "ask" and self.resume is None:
            self.resume = now - self.begun
        else:
            self.spans[what].append(now - self.last)
        self.last = now


class Looking(Trainer[LongRecipe]):
    """A trainer that looks at the clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def fit(self, recipe: LongRecipe, data: Data, run: Run) -> Generator[Epoch, None, None]:
        """Yields epochs at once."""
        self.clock.end("ask")
        for at in range(1, EPOCHS + 1):
            self.clock.last = time.perf_counter()
            yield Epoch(at=at, images=1, metrics={"accuracy": recipe.a * at / EPOCHS})
            self.clock.end("report")
        self.clock.last = time.perf_counter()

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> Model:
        """Never asked here."""
        raise TypeError("no models are made here")


class Plugin:
    """The trainer, tiny images, and an observer."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @hookimpl
    def autotune_trainers(self) -> Iterable[TrainerSpec]:
        """Offers ``looking``."""
        build = lambda: Looking(self.clock)  # noqa: E731
        return [
            TrainerSpec(name="looking", summary="Waits.", recipe=LongRecipe, build=build, metrics=("accuracy",))
        ]  # fmt: skip

    @hookimpl
    def autotune_data_sources(self) -> Iterable[DataSourceSpec]:
        """Offers ``tiny``."""
        images, labels = tiny_images(3, 24)
        source = MemorySource(list(images), [f"class-{label}" for label in labels])
        return [DataSourceSpec(name="tiny", summary="Tiny.", accepts=lambda w: w == "tiny", open=lambda w: source)]

    @hookimpl
    def autotune_trial_finished(self) -> None:
        """Ends the telling."""
        self.clock.end("tell")


def plan_of(runs: Path, clock: Clock, *, trials: int, sampler: str) -> Any:
    """The plan of a study."""
    plugins = Plugins()
    plugins.register(Plugin(clock), "looking")
    config = {"data": "tiny", "trainer": "looking", "name": "long", "epochs": EPOCHS, "pruner": "halving"}
    return resolve(StudyConfig(**config, trials=trials, sampler=sampler), plugins, runs=runs)


def lengthen(folder: Path, trials: int) -> None:
    """Adds trials to a study that has some: they are like its first one, with other values."""
    storage = open_storage(folder / FILE, None)
    study = storage.get_study_id_from_name(SEARCH)
    known = storage.get_all_trials(study, deepcopy=False)
    first = known[0]
    home = folder / "trials" / "00000"
    plan = TrialPlan.read(home)
    recipe, lines = (home / "recipe.toml").read_text(), (home / "attempt-1" / "epochs.jsonl").read_text()
    for number in range(len(known), trials):
        value = ((number * 7919) % 10_007) / 10_007
        first.params = {**first.params, "a": value}
        first.values = [value]
        first.user_attrs = {**first.user_attrs, "number": number}
        first.intermediate_values = {at: value * at / EPOCHS for at in range(1, EPOCHS + 1)}
        storage.create_new_trial(study, template_trial=first)
        attempt = folder / "trials" / f"{number:05d}" / "attempt-1"
        attempt.mkdir(parents=True)
        (attempt.parent / "recipe.toml").write_text(_with(recipe, plan, number, value))
        (attempt / "epochs.jsonl").write_text(_scored(lines, value))


def _with(text: str, plan: TrialPlan, number: int, value: float) -> str:
    text = text.replace("trial = 0\n", f"trial = {number}\n", 1)
    return text.replace(f"\na = {plan.sampled['a']}\n", f"\na = {value}\n")


def _scored(lines: str, value: float) -> str:
    found = [json.loads(line) for line in lines.splitlines()]
    for line in found:
        if "at" in line:
            line["metrics"] = {"accuracy": value * line["at"] / EPOCHS}
    return "".join(json.dumps(line) + "\n" for line in found)


def measure(runs: Path, trials: int, sampler: str) -> Mapping[str, float]:
    """Seconds to resume a study, and medians in milliseconds of what its trials pay."""
    run_search(plan_of(runs, Clock(), trials=2, sampler=sampler))
    lengthen(runs / "long", trials)
    clock = Clock()
    plan = plan_of(runs, clock, trials=trials + MORE, sampler=sampler)
    clock.begun = time.perf_counter()
    study = run_search(plan)
    if len(study.trials) != trials + MORE or any(t.state == "failed" for t in study.trials):
        raise RuntimeError(f"{runs}: the study did not go on as it should")
    medians = {what: 1e3 * statistics.median(spans) for what, spans in clock.spans.items()}
    return {"resume": clock.resume or 0.0, **medians}


def main() -> int:
    """Measures, prints a table, writes the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe"])
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    rows = []
    print(
        "| trials | sampler | resume (s) | ask (ms) | report (ms) | tell (ms) |\n|---|---|---|---|---|---|", flush=True
    )
    for trials in chosen.trials:
        for sampler in chosen.samplers:
            with tempfile.TemporaryDirectory() as runs:
                found = measure(Path(runs), trials, sampler)
            rows.append({"trials": trials, "sampler": sampler, **found})
            told = " | ".join(f"{found[what]:.3g}" for what in ("resume", "ask", "report", "tell"))
            print(f"| {trials:,} | {sampler} | {told} |", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row["resume"] >= GOAL for row in rows if row["trials"] <= 5000))


if __name__ == "__main__":
    sys.exit(main())
