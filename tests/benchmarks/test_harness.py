"""The benchmarks' own parts: what measures and what is measured against."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import bare
import measuring
import pytest
import run
import torch
from measuring import Figures, Goal, Measure, Result, Row
from memory import peak
from timm_loop import TimmLoop
from to_score import first_at, kept
from torch import nn

CLASSES = 3


def side(name: str, values: list[float], order: list[str]) -> Callable[[], Figures]:
    """A side that writes down when it ran and returns one value after the other."""
    left = iter(values)

    def ran() -> Figures:
        order.append(name)
        return {name: next(left)}

    return ran


def measured(goal: Goal | None = None) -> Result:
    """Three rounds of two sides, after one that does not count."""
    measure = Measure(
        sides={"ours": side("ours", [0, 10, 30, 20], []), "bare": side("bare", [0.1, 10, 10, 10], [])},
        rows=[
            Row(
                name="P0",
                title="ours / bare",
                value=lambda f: f["ours"] / f["bare"],
                figures=("ours", "bare"),
                goal=goal,
            )
        ],
    )
    (result,) = measuring.results(measure, 3)
    return result


def test_sides_take_turns_and_every_other_round_runs_backwards() -> None:
    """A machine that slows down in the middle favours neither side."""
    order: list[str] = []
    sides = {"a": side("a", [1, 2, 3, 4], order), "b": side("b", [5, 6, 7, 8], order)}
    figures = measuring.alternate(sides, rounds=3, warmups=1)
    assert order == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert figures == [{"a": 2, "b": 6}, {"a": 3, "b": 7}, {"a": 4, "b": 8}]


def test_the_median_is_of_the_rounds_ratios_and_the_first_round_does_not_count() -> None:
    """Ratios of figures that were measured next to each other, not a ratio of distant middles."""
    result = measured()
    assert result.values == (1, 3, 2)
    assert result.median == 2
    assert result.verdict == ""


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (Goal(sense="at least", value=2), "yes"),
        (Goal(sense="at least", value=2.1), "no"),
        (Goal(sense="at most", value=2), "yes"),
        (Goal(sense="at most", value=1.9), "no"),
    ],
)
def test_a_goal_is_met_from_its_own_side(goal: Goal, verdict: str) -> None:
    """``at least`` and ``at most`` include the value itself."""
    assert measured(goal).verdict == verdict


def test_the_table_shows_goal_median_spread_rounds_and_both_sides() -> None:
    """One line a row, with notes and with the baselines' figures under other conditions."""
    result = measured(Goal(sense="at least", value=1.5))
    result = Result(
        name=result.name,
        title=result.title,
        goal=result.goal,
        values=result.values,
        figures=result.figures,
        notes=("a note",),
        apart={"other threads": {"bare": 12345.6}},
    )
    lines = measuring.table([result]).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:7] == ["P0", "ours / bare", ">= 1.5", "2", "1 to 3", "3", "yes"]
    assert cells[7] == "ours 20; bare 10; bare (other threads) 12,346"
    assert lines[3] == "- a note"


def test_the_record_is_json_and_holds_every_round() -> None:
    """Whoever doubts a median can compute it again."""
    record = json.loads(json.dumps(measured(Goal(sense="at most", value=1)).to_record()))
    assert (record["goal"], record["met"], record["median"], record["rounds"]) == ("<= 1", False, 2, 3)
    assert (record["lowest"], record["highest"], record["values"]) == (1, 3, [1, 3, 2])
    assert record["figures"]["ours"] == {"median": 20, "lowest": 10, "highest": 30, "values": [10, 30, 20]}


def test_a_measure_is_closed_whatever_happens_and_baselines_run_alone() -> None:
    """Trials and loader processes end with their measure."""
    closed: list[int] = []
    order: list[str] = []

    def broken() -> Figures:
        raise OSError("no disk")

    sides = {"bare": side("bare", [1, 2, 4, 3], order), "ours": broken}
    measure = Measure(sides=sides, rows=[], bare=("bare",), close=lambda: closed.append(1))
    with pytest.raises(OSError, match="no disk"):
        list(measuring.results(measure, 2))
    assert closed == [1]
    order.clear()
    assert measuring.baselines(measure, 2) == {"bare": 3}
    assert order == ["bare"] * 3
    assert closed == [1, 1]


class Lite(nn.Module):
    """EfficientNet-Lite0's parts by name, tiny; batch normalisation in each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()) for _ in range(7))
        )
        self.conv_head, self.bn2 = nn.Conv2d(4, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.drop_rate = 0.1
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        features = self.bn2(self.conv_head(self.blocks(self.bn1(self.conv_stem(images)))))
        return self.classifier(self.global_pool(features))


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose class is their brightness, in channels_last, and labels."""
    torch.manual_seed(0)
    labels = torch.arange(48) % CLASSES
    bright = torch.randn(48, 3, 16, 16) * 0.1 + labels.view(-1, 1, 1, 1)
    return bright.contiguous(memory_format=torch.channels_last), labels


@pytest.mark.parametrize("k", range(4))
def test_the_bare_suffix_on_the_boundary_is_the_whole_network_and_learns(k: int) -> None:
    """Prefix then suffix gives the network's outputs; training lowers the loss and leaves the prefix as it was."""
    inputs, labels = images()
    model = Lite().to(memory_format=torch.channels_last)
    prefix, suffix = bare.cut(model, k)
    crossing = bare.boundary(prefix, inputs.split(16))
    assert crossing.ndim == 2 or crossing.is_contiguous(memory_format=torch.channels_last)
    suffix.eval()
    with torch.no_grad():
        torch.testing.assert_close(suffix(crossing), model.eval()(inputs))
    before = bare.loss_of(suffix, crossing, labels)
    frozen = {name: tensor.clone() for name, tensor in prefix.state_dict().items()}
    optimizer = bare.fused_adamw(bare.training_mode(suffix), lr=1e-2)
    for _ in range(5):
        assert bare.train_epoch(suffix, optimizer, crossing, labels, batch_size=16) > 0
    assert bare.loss_of(suffix, crossing, labels) < before
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in prefix.state_dict().items())
    assert bare.forward(prefix, inputs, batch_size=16) > 0


def test_batch_normalisation_is_frozen_or_not_as_asked() -> None:
    """Pretrained statistics stay with ``frozen`` and move with ``batch``."""
    inputs, labels = images()
    for bn, moves in (("frozen", False), ("batch", True)):
        model = bare.training_mode(Lite(), bn)
        bare.train_epoch(model, bare.fused_adamw(model), inputs, labels, batch_size=16)
        assert bool(model.bn1.running_mean.any()) is moves


def test_timms_loop_reads_its_files_and_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every full batch is trained on, in the layout and the precision that were asked for."""
    import timm
    from PIL import Image

    paths = []
    for i in range(12):
        paths.append(tmp_path / f"{i}.png")
        Image.new("L", (20, 20), 80 * (i % CLASSES)).save(paths[-1])
    monkeypatch.setattr(bare, "NETWORK", "test_efficientnet")
    monkeypatch.setattr("timm_loop.NETWORK", "test_efficientnet")
    weights = tmp_path / "weights.safetensors"
    from safetensors.torch import save_file

    save_file(timm.create_model("test_efficientnet").state_dict(), weights)
    loop = TimmLoop(
        paths,
        [i % CLASSES for i in range(12)],
        weights=str(weights),
        classes=CLASSES,
        img_size=32,
        batch_size=5,
        channels_last=True,
        dtype=torch.bfloat16,
        workers=0,
    )
    before = loop.model.conv_stem.weight.detach().clone()
    assert loop.train_epoch() > 0
    assert not torch.equal(loop.model.conv_stem.weight, before)
    assert loop.model.bn1.num_batches_tracked == 2
    assert loop.model.conv_stem.weight.is_contiguous(memory_format=torch.channels_last)
    loop.close()


def test_the_peak_is_that_of_the_process_and_its_children() -> None:
    """Memory that was held for a moment counts, in a child as well."""
    hold = "import time; held = b'x' * {size}; time.sleep(0.3); del held; time.sleep(0.1)"
    alone = peak([sys.executable, "-c", hold.format(size=60_000_000)])
    assert 60e6 < alone < 90e6
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold.format(size=60_000_000)!r}])"
    assert 60e6 < peak([sys.executable, "-c", child]) < 100e6
    with pytest.raises(subprocess.CalledProcessError):
        peak([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_score_is_first_reached_when_it_is_first_reached() -> None:
    """Not when it is best, and never if it is never had."""
    trace = [{"at": 1.0, "accuracy": 0.5}, {"at": 2.0, "accuracy": 0.8}, {"at": 3.0, "accuracy": 0.9}]
    assert first_at(trace, 0.8) == 2.0
    assert first_at(trace, 0.95) is None


def test_a_finished_trace_is_kept_and_an_unfinished_one_made_again(tmp_path: Path) -> None:
    """What took a quarter of an hour is not measured twice."""
    made: list[int] = []

    def make() -> list[dict[str, float]]:
        made.append(1)
        if len(made) == 1:
            raise KeyboardInterrupt
        return [{"at": 1.0, "accuracy": 0.5}]

    path = tmp_path / "trace.json"
    with pytest.raises(KeyboardInterrupt):
        kept(path, make)
    assert not path.exists()
    assert kept(path, make) == kept(path, make) == [{"at": 1.0, "accuracy": 0.5}]
    assert len(made) == 2


def test_the_command_takes_names_in_any_case_and_refuses_others(capsys: pytest.CaptureFixture[str]) -> None:
    """By default everything runs but what takes hours."""
    assert run.arguments(["p3", "P1", "p3"]).names == ["P3", "P1"]
    assert not {"P6", "P9", "P12", "P13", "P14"} & set(run.arguments([]).names)
    with pytest.raises(SystemExit):
        run.arguments(["P99"])
    assert "P99 is no benchmark on cpu: choose from P1" in capsys.readouterr().err
