"""Crews: how many workers are to search, where, and what starts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.engine import GRACE
from autotune.errors import UsageError

if TYPE_CHECKING:
    from autotune.plan import Plan

LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """How many workers, and where.

    Attributes:
        workers: How many; with GPUs, that many in all.
        gpus: The GPUs, as CUDA_VISIBLE_DEVICES names them, that they take turns on; none leaves that to the study.
        grace: Seconds from a signal to stop until a worker is gone.
        launcher: The name of what starts them.
    """

    workers: int
    gpus: tuple[str, ...] = ()
    grace: float = GRACE
    launcher: str = LOCAL

    @classmethod
    def of(
        cls, workers: int | None, gpus: str | None, per_gpu: int | None, grace: float, launcher: str | None = None
    ) -> Crew | None:
        """The crew that options ask for; None where they ask for no workers.

        Args:
            workers: How many workers.
            gpus: GPUs, with commas between.
            per_gpu: Workers on each GPU.
            grace: Seconds from a signal to stop until a worker is gone.
            launcher: What starts them; None is ``local``.

        Raises:
            UsageError: The options contradict each other.
        """
        names = tuple(name.strip() for name in (gpus or "").split(",") if name.strip())
        if per_gpu is not None and not names:
            raise UsageError(f"--per-gpu {per_gpu}: there are no GPUs named", hint="say --gpus 0,1 as well")
        if workers is None and gpus is None:
            if launcher is not None:
                raise UsageError(
                    f"--launcher {launcher}: there are no workers to start", hint="say --workers 4 as well"
                )
            return None
        if gpus is not None and not names:
            raise UsageError(f"--gpus {gpus!r}: names no GPU", hint="e.g. --gpus 0,1")
        if workers is not None and names:
            raise UsageError("--workers and --gpus both say how many workers", hint="say --gpus 0,1 --per-gpu 2")
        count = workers if workers is not None else len(names) * (per_gpu or 1)
        if count < 1:
            raise UsageError(f"{count} workers: there must be one at least", hint="e.g. --workers 4")
        return cls(workers=count, gpus=names, grace=grace, launcher=launcher or LOCAL)

    def check(self, plan: Plan) -> None:
        """Checks that a study can be searched by this crew; nothing is written.

        Raises:
            UnknownName: There is no such launcher.
            UsageError: The study's device is none of the GPUs that are shared out, or there are none here.
        """
        plan.plugins.launcher(self.launcher)
        if not self.gpus:
            return
        asked, hint = f"--gpus {','.join(self.gpus)}", f"say --workers {self.workers}, or search where there are GPUs"
        if plan.config.device not in ("auto", "cuda"):
            raise UsageError(f"device = {plan.config.device} contradicts {asked}", hint="leave device out")
        if plan.trainer.device is None:
            raise UsageError(
                f"{asked}: trainer {plan.trainer.name!r} uses no GPU", hint=f"say --workers {self.workers}"
            )
        if self.launcher != LOCAL:
            return  # workers that find no GPU where they run say so
        try:
            plan.trainer.device("cuda")
        except UsageError as error:
            raise UsageError(f"{asked}: {error.message}", hint=hint) from error
