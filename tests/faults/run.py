"""Lets the monkey loose on many studies, and prints what it did to each and what the judge says.

    python tests/faults/run.py --seeds 200                 # 60 toy trials on 4 workers each
    python tests/faults/run.py --seeds 20 --study pruned   # with the usual sampler and pruner
    python tests/faults/run.py --seeds 3 --study real      # 12 trials of a small network
    python tests/faults/run.py --first 17 --seeds 1 --keep runs/faults   # one of them again

What happens follows from the seed; when within an epoch it does, not quite. It needs root, for small disks of its own,
and ends with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parent / "parts"))

if TYPE_CHECKING:
    from ordeal import Verdict

HEAD = ("seed", "verdict", "seconds", "starts", "deaths", "what happened, at which epoch of the study")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    from kinds import STUDIES

    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="how many")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them")
    parser.add_argument("--study", choices=sorted(STUDIES), default="toy", help="which kind of study")
    parser.add_argument("--faults", type=int, metavar="N", help="how many things happen to each")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where studies that went wrong are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write what was found")
    return parser.parse_args(words)


def row(verdict: Verdict) -> tuple[str, ...]:
    """A verdict as a line of the table."""
    return (
        str(verdict.seed),
        "WRONG" if verdict.wrong else "well",
        f"{verdict.seconds:.1f}",
        str(sum(verdict.codes.values())),
        str(verdict.deaths),
        ", ".join(verdict.events),
    )


def line(cells: Sequence[str]) -> str:
    """Cells side by side."""
    return f"{cells[0]:>5}  {cells[1]:<7}  {cells[2]:>7}  {cells[3]:>6}  {cells[4]:>6}  {cells[5]}"


def main() -> int:
    """Runs the studies; returns 1 if anything was wrong with one."""
    from dataclasses import replace

    from kinds import STUDIES
    from ordeal import Ordeal
    from smalldisk import unavailable

    chosen = arguments()
    if reason := unavailable():
        raise SystemExit(f"this needs a small disk: {reason}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # no process and no disk is left behind
    kind = STUDIES[chosen.study]
    if chosen.faults is not None:
        kind = replace(kind, faults=chosen.faults)
    if chosen.keep is not None:
        chosen.keep.mkdir(parents=True, exist_ok=True)
    found: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="autotune-faults-") as work:
        ordeal = Ordeal(kind, Path(work), keep=chosen.keep)
        print(line(HEAD), flush=True)
        for seed in range(chosen.first, chosen.first + chosen.seeds):
            verdict = ordeal.run(seed)
            found.append(verdict)
            print(line(row(verdict)), *(f"       {problem}" for problem in verdict.wrong), sep="\n", flush=True)
            if chosen.json is not None:
                chosen.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    wrong = [str(one.seed) for one in found if one.wrong]
    events = sum(len(one.events) for one in found)
    deaths = sum(one.deaths for one in found)
    ended = f"wrong with the seeds {', '.join(wrong)}" if wrong else "nothing was lost"
    print(f"{len(found)} studies of {kind.trials} trials, {events} faults, {deaths} attempts died: {ended}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
