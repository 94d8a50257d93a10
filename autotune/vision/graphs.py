"""Training steps as CUDA graphs, for networks so small that a GPU waits for Python.

Forward and backward pass and the optimiser's step are captured once for each shape of a batch, and replayed with one
launch. Draws such as dropout's stay random, and rates are read from the device, so that schedules go on. Penalties and
averages, a few launches, are taken after each replay as after any other step.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from autotune.vision.device import Placement, is_out_of_memory
from autotune.vision.loop import Trained, gradient_step, plain_step
from autotune.vision.mixing import Inputs
from autotune.vision.streams import abandon, beside, waits

GraphWish: TypeAlias = Literal["auto", "never"]
_Key: TypeAlias = tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...]

WARM = 3
"""Steps of each shape before it is captured: kernels are loaded, workspaces and the optimiser's state made."""
PAYS = 50
"""Steps that must be left: capturing costs what a few steps do, and an ordinary step is hardly slower on large ones."""
SHAPES = 4
"""Shapes of batches that are captured at most; an epoch has two, since its batches differ in size by one."""
ROOM = 1 / 2
"""Share of the memory that is free which one step's tensors may take: a graph keeps them for itself."""


@dataclass(slots=True)
class _Seen:
    """Batches of one shape: how often they came, and the step once it is captured."""

    count: int = 0
    step: _Step | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """A captured step: what it reads, and the loss that it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Inputs
    targets: torch.Tensor
    loss: torch.Tensor

    def replay(self, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """Takes the step on a batch; the loss holds until the next one."""
        for kept, given in zip((*self.inputs, self.targets), (*inputs, targets), strict=True):
            kept.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.loss


def without_graphs(wish: GraphWish, placement: Placement, steps: int) -> str | None:
    """Why so many steps of any training are not captured; None where only a training itself may speak against it.

    Args:
        wish: As for `Graphs`.
        placement: Where the network is, or will be.
        steps: How many are left before something else is trained.
    """
    if wish == "never":
        return "the recipe says cuda_graphs=never"
    if not placement.is_cuda:
        return f"there are no CUDA graphs on {placement.device}"
    if torch.version.hip is not None:
        return "they were not tried with ROCm"
    return f"{steps} are left, and it pays from {PAYS} on" if steps < PAYS else None


class Graphs:
    """Takes the steps of a training, by graphs where that can be done and pays; a context that ends with it.

    Where it cannot, a line with the trial says why, and the steps are taken as usual: they are equal to rounding.

    Args:
        wish: ``auto`` captures on a CUDA device with enough steps left; ``never`` does not.
        placement: Where the network is.
        note: Keeps a line with the trial.
    """

    def __init__(self, wish: GraphWish, placement: Placement, note: Callable[[str], None]) -> None:
        self.wish, self.placement, self.note = wish, placement, note
        self._shapes: dict[_Key, _Seen] = {}
        self._forward: Callable[..., torch.Tensor] | None = None
        self._trained: Trained | None = None
        self._rates: torch.Tensor | None = None
        self._set: list[float] = []
        self._stopped = False
        self._said: set[str] = set()

    def __enter__(self) -> Graphs:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def why_not(self, trained: Trained, steps: int) -> str | None:
        """Why so many steps of a training are not captured; None if they are."""
        reason = without_graphs(self.wish, self.placement, steps)
        if reason is not None:
            return reason
        unfused = [group for group in trained.optimizer.param_groups if not group.get("fused")]
        if unfused:
            return f"{type(trained.optimizer).__name__} is not fused, and may keep its state on the CPU"
        return None

    def begin(self, trained: Trained, steps: int) -> None:
        """Begins with what is trained from here on: what was captured before is let go.

        Args:
            trained: Its steps are taken by this object, or as usual.
            steps: How many are left before something else is trained.
        """
        self._end()
        if self._stopped:
            return
        reason = self.why_not(trained, steps)
        if reason is None:
            self._trained = trained
            trained.graphs = self
        elif self.wish != "never" and self.placement.is_cuda:
            self._say(f"steps are not captured as CUDA graphs: {reason}")

    def stop(self, reason: str) -> bool:
        """Takes all further steps as usual. Returns whether memory is free now that captured steps held."""
        held = any(seen.step is not None for seen in self._shapes.values())
        self._end()
        self._stopped = True
        self._say(f"steps are not captured as CUDA graphs from here on: {reason}")
        return held

    def step(self, trained: Trained, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """Gradients and the optimiser's step for a batch, as `autotune.vision.loop.plain_step` takes them.

        Returns:
            The batch's mean loss, on the device; it holds until the next step.
        """
        if trained.forward is not self._forward:  # e.g. compiled since
            self._release()
            self._forward = trained.forward
        key = tuple((t.shape, t.stride(), t.dtype) for t in (*inputs, targets))
        if key not in self._shapes and len(self._shapes) == SHAPES:
            return self._aside(trained, inputs, targets)
        seen = self._shapes.setdefault(key, _Seen())
        if seen.step is None:
            seen.count += 1
            if seen.count < WARM:
                return self._aside(trained, inputs, targets)
            if seen.count == WARM:
                return self._watched(trained, inputs, targets)
            seen.step = self._capture(trained, inputs, targets)
            if seen.step is None:
                return plain_step(trained, inputs, targets)
        self._send_rates(trained)
        return seen.step.replay(inputs, targets)

    def _aside(self, trained: Trained, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """A step as usual, on the stream that captures: what torch keeps for a stream is then there."""
        with beside(self.placement.device):
            return plain_step(trained, inputs, targets)

    def _watched(self, trained: Trained, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """The same; what keeps it from being captured ends the capturing before it is tried."""
        device = self.placement.device
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        with waits() as found:
            loss = self._aside(trained, inputs, targets)
        if self._stopped:  # memory ran out
            return loss
        needed = torch.cuda.max_memory_allocated(device) - before
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - before
        if found:
            self.stop(f"a step makes the GPU wait ({found[0]})")
        elif needed > ROOM * free:
            self.stop(f"a step takes {needed / 2**20:,.0f} MiB, of {free / 2**20:,.0f} MiB that are free")
        return loss

    def _capture(self, trained: Trained, inputs: Inputs, targets: torch.Tensor) -> _Step | None:
        """The step for batches of a shape, not taken yet; None where it cannot be captured, and nothing has changed."""
        device, groups = self.placement.device, trained.optimizer.param_groups
        if self._rates is None:
            self._rates = torch.zeros(len(groups), device=device)
        fixed = [torch.empty_like(tensor) for tensor in (*inputs, targets)]
        for kept, given in zip(fixed, (*inputs, targets), strict=True):
            kept.copy_(given)
        before = [(group["lr"], group.get("capturable")) for group in groups]
        generator = torch.cuda.default_generators[torch.device(device).index or 0]
        random, shared = generator.clone_state(), self._pool()
        graph, pool = torch.cuda.CUDAGraph(), shared or torch.cuda.graph_pool_handle()
        gc.collect()  # a graph or a tensor that the collector frees in between would spoil it
        try:
            for group, rate in zip(groups, self._rates.unbind(), strict=True):
                group["lr"] = rate
                if "capturable" in group:
                    group["capturable"] = True
            # Another thread may pin memory in between, which only the mode thread_local allows it.
            with (
                beside(device) as stream,
                torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
            ):
                loss = gradient_step(trained, tuple(fixed[:-1]), fixed[-1])
        except Exception as error:
            abandon(graph, pool, device)
            generator.graphsafe_set_state(random)
            trained.optimizer.zero_grad(set_to_none=True)
            first = _first(error)
            said = "memory ran out" if is_out_of_memory(first) else str(first).strip().partition("\n")[0]
            self.stop(said or type(first).__name__)
            return None
        finally:
            for group, (rate, capturable) in zip(groups, before, strict=True):
                group["lr"] = rate
                if capturable is not None:
                    group["capturable"] = capturable
        self._say(f"steps are replayed from CUDA graphs, after {WARM} of each size of batch")
        return _Step(graph, tuple(fixed[:-1]), fixed[-1], loss)

    def _pool(self) -> Any:
        """The memory that all captured steps share: none needs what it computed once the next begins."""
        return next((seen.step.graph.pool() for seen in self._shapes.values() if seen.step is not None), None)

    def _send_rates(self, trained: Trained) -> None:
        """Puts the rates that the optimiser has where captured steps read them."""
        wanted = [group["lr"] for group in trained.optimizer.param_groups]
        if wanted != self._set and self._rates is not None:
            self._rates.copy_(torch.tensor(wanted).pin_memory(), non_blocking=True)
            self._set = wanted

    def _end(self) -> None:
        if self._trained is not None:
            self._trained.graphs = None
        self._trained = self._rates = None
        self._set = []
        self._release()

    def _release(self) -> None:
        """Lets go of what was captured."""
        steps = [seen.step for seen in self._shapes.values() if seen.step is not None]
        self._shapes.clear()
        self._forward = None
        if steps:
            torch.cuda.synchronize(self.placement.device)
            for step in steps:
                step.graph.reset()

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self.note(line)


def _first(error: BaseException) -> BaseException:
    """What went wrong first: ending a capture that has failed is an error again, of an empty graph."""
    while error.__context__ is not None:
        error = error.__context__
    return error
