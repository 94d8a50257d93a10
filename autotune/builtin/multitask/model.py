"""What ``multitask`` hands back: a network that answers for each of its tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autotune import Model, Preprocess, UnknownName
from autotune.vision import TorchModel, task_columns


class TaskModel(TorchModel):
    """The model of one of several tasks; the network, and what is saved, are those of all.

    Args:
        module: Maps float32 [N, 3, S, S] to logits with a column for every class of every task.
        number: The task's place among the tasks.
        tasks: Facts of each task in order: ``name``, ``classes``, ``preprocess`` and perhaps ``temperature``.
        device: A torch device name.
        facts: What a checkpoint said of the model; `state` passes it on.

    Attributes:
        name: The task's name.
        family: The models of all tasks, this one among them; see `task_models`.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        number: int,
        tasks: Sequence[Mapping[str, Any]],
        *,
        device: str,
        facts: Mapping[str, Any],
    ) -> None:
        own = tasks[number]
        super().__init__(
            module,
            classes=own["classes"],
            preprocess=Preprocess.from_facts(own["preprocess"]),
            device=device,
            temperature=float(own.get("temperature", 1.0)),
            facts=facts,
        )
        self.name = str(own["name"])
        self.tasks = tuple(str(task["name"]) for task in tasks) if len(tasks) > 1 else ()
        self.family: Sequence[TaskModel] = (self,)
        self._columns = task_columns([len(task["classes"]) for task in tasks])[number]

    def task(self, name: str) -> Model:
        """The model of another one of its tasks; they share the network.

        Raises:
            UnknownName: It has no task of that name.
        """
        for member in self.family:
            if member.name == name:
                return member
        raise UnknownName("task", name, [member.name for member in self.family])

    def logits(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Raw scores [N, C] for images uint8 [H, W, 3] of any sizes."""
        scores = super().logits(images)
        return scores[:, self._columns] if len(images) else scores

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """All tensors by the network's own names, and the facts that rebuild the models of all tasks."""
        tensors, facts = super().state()
        tasks = [
            {
                "name": member.name,
                "classes": list(member.classes),
                "preprocess": member.preprocess.to_facts(),
                "temperature": member.temperature,
            }
            for member in self.family
        ]
        first = tasks[0]
        columns = [label for member in self.family for label in member.classes]
        shared = {"classes": columns, "preprocess": first["preprocess"], "temperature": first["temperature"]}
        return tensors, {**facts, **shared, "tasks": tasks}


def task_models(
    module: torch.nn.Module, tasks: Sequence[Mapping[str, Any]], *, device: str, facts: Mapping[str, Any]
) -> tuple[TaskModel, ...]:
    """The models of all tasks of one network; the arguments are those of `TaskModel`."""
    family = tuple(TaskModel(module, number, tasks, device=device, facts=facts) for number in range(len(tasks)))
    for member in family:
        member.family = family
    return family
