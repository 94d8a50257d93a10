"""Measures what autotune promises of its speed, in alternation with bare loops: one command, a table and JSON.

    python tests/benchmarks/run.py                     # P1 to P5, P7, P8, P10, P11: over an hour on two quiet cores
    python tests/benchmarks/run.py P1 P3 --quick       # 240 images, two rounds: does it run?
    python tests/benchmarks/run.py P6 --minutes 15     # three seeds, 15 minutes a baseline; goes on where it stopped
    python tests/benchmarks/run.py P9                  # every family of networks
    python tests/benchmarks/run.py P12 --minutes 10    # memory of a search on all 70,000 images of Fashion-MNIST
    python tests/benchmarks/run.py P14                 # what memory each of four workers has for itself
    python tests/benchmarks/run.py --device cuda       # P1 to P5 on a GPU, against the same loops there

It ends with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

POLICY, TURNS = "GOMP_SPINCOUNT", "10000"
NAMES = ("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P11", "P12", "P13", "P14")
USUAL = ("P1", "P2", "P3", "P4", "P5", "P7", "P8", "P10", "P11")
ANYWHERE = ("P1", "P2", "P3", "P4", "P5", "P9")
TORCHS_OWN = "torch's own waiting policy"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="P", help="which: P1 to P14; by default all but P6, P9 and P12 to P14"
    )
    parser.add_argument("--quick", action="store_true", help="240 images and 2 rounds: says that it runs, no more")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    parser.add_argument("--rounds", type=int, help="rounds that count (5)")
    parser.add_argument("--images", type=int, help="Fashion-MNIST images (10,000)")
    parser.add_argument("--minutes", type=float, default=15.0, help="P6, P12: budget of one search")
    parser.add_argument("--seeds", type=int, default=3, help="P6: how many")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/benchmarks"), help="images, caches, and what P6 keeps between calls"
    )
    parser.add_argument("--device", default="cpu", help="where both sides train; on a GPU only P1 to P5 and P9")
    parser.add_argument("--bare", action="store_true", help="the baselines alone")
    parser.add_argument("--own-policy", action="store_true", help=f"with {TORCHS_OWN}; autotune sets {POLICY}")
    chosen = parser.parse_args(words)
    usual, known = (USUAL, NAMES) if chosen.device == "cpu" else (ANYWHERE[:-1], ANYWHERE)
    chosen.names = list(dict.fromkeys(name.upper() for name in chosen.names)) or list(usual)
    if unknown := [name for name in chosen.names if name not in known]:
        parser.error(f"{unknown[0]} is no benchmark on {chosen.device}: choose from {', '.join(known)}")
    return chosen


def environment(chosen: argparse.Namespace) -> None:
    """Sets what both sides share, before torch is imported: libgomp reads its policy once."""
    work = chosen.work.absolute()
    (work / "cache").mkdir(parents=True, exist_ok=True)
    os.environ["AUTOTUNE_CACHE_DIR"] = str(work / "cache")
    if chosen.own_policy:
        os.environ.pop(POLICY, None)
        import torch  # noqa: F401
    else:
        os.environ[POLICY] = TURNS


def benchmarks() -> dict[str, Callable[..., Iterator[Any]]]:
    """The measures by name; each yields them one after the other, so that they are not all in memory."""
    import frozen
    import heads
    import memory
    import sharing
    import splits
    import startup
    import suffixes
    import to_score
    import whole
    import workers

    return {
        "P1": suffixes.p1, "P2": suffixes.p2, "P3": heads.p3, "P4": whole.p4, "P5": whole.p5, "P6": to_score.p6,
        "P7": startup.p7, "P8": memory.p8, "P9": splits.p9, "P10": sharing.p10,
        "P11": sharing.p11, "P12": memory.p12, "P13": frozen.p13, "P14": workers.p14,
    }  # fmt: skip


def settings(chosen: argparse.Namespace) -> Any:
    """Sizes, as asked for."""
    from material import Settings

    from autotune.vision import pick_device

    return Settings(
        work=chosen.work.absolute(),
        images=chosen.images or (240 if chosen.quick else 10_000),
        rounds=chosen.rounds or (2 if chosen.quick else 5),
        minutes=chosen.minutes,
        seeds=tuple(range(chosen.seeds)),
        quick=chosen.quick,
        device=pick_device(chosen.device),
    )


def machine(device: str) -> dict[str, Any]:
    """What it was measured on."""
    import timm
    import torch

    here = Path(__file__).parent
    commit = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty"], capture_output=True, text=True)
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": model[0].partition(":")[2].strip() if model else platform.processor(),
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or None,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        POLICY: os.environ.get(POLICY, TORCHS_OWN),
    }


def baselines_apart(chosen: argparse.Namespace, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """The baselines again in a process of their own, with the waiting policy that torch comes with; by measure."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, __file__, *names, "--bare", "--own-policy", "--json", file.name]
        command += ["--work", str(chosen.work), "--device", chosen.device, *(["--quick"] if chosen.quick else [])]
        for option in ("rounds", "images"):
            if (value := getattr(chosen, option)) is not None:
                command += [f"--{option}", str(value)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(Path(file.name).read_text())["baselines"]


def main() -> int:
    """Measures, prints the table, writes the JSON; returns 1 if a goal was missed."""
    chosen = arguments()
    environment(chosen)
    from material import Material
    from measuring import baselines, results, table

    sizes = settings(chosen)
    about = machine(sizes.device)
    material = Material(sizes)
    known = benchmarks()
    if chosen.bare:
        found = {m.rows[0].name: baselines(m, material.rounds) for n in chosen.names for m in known[n](material)}
        text = json.dumps({"machine": about, "baselines": found}, indent=1)
        (chosen.json.write_text if chosen.json else print)(text)
        return 0
    measured = []
    for name in chosen.names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        began = time.perf_counter()
        here = [list(results(measure, material.rounds)) for measure in known[name](material)]
        if name in ("P1", "P3", "P4", "P5") and chosen.device == "cpu":
            apart = baselines_apart(chosen, [name])
            here = [[replace(row, apart={TORCHS_OWN: apart[rows[0].name]}) for row in rows] for rows in here]
        measured += [row for rows in here for row in rows]
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if chosen.json:
            record = {
                "machine": about,
                "images": material.settings.images,
                "img_size": material.settings.img_size,
                "batch": material.settings.batch,
                "quick": chosen.quick,
                "results": [row.to_record() for row in measured],
            }
            chosen.json.write_text(json.dumps(record, indent=1) + "\n")
    print(table(measured))
    return int(any(row.verdict == "no" for row in measured))


if __name__ == "__main__":
    sys.exit(main())
