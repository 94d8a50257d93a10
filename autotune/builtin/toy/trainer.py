"""Training a softmax regression by stochastic gradient descent."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotune import BadData, Checkpoint, Data, DataError, Diverged, Epoch, Run, Split, Task, Trainer
from autotune.builtin.toy.metrics import score
from autotune.builtin.toy.model import Floats, ToyModel, shrink
from autotune.builtin.toy.recipe import ToyRecipe


@dataclass(slots=True)
class _State:
    """Everything that training changes; `epoch` and `batch` say which step comes next."""

    weight: Floats
    bias: Floats
    weight_velocity: Floats
    bias_velocity: Floats
    mean: Floats
    epoch: int = 0
    batch: int = 0


class _Course:
    """One recipe on its way through the epochs.

    Args:
        recipe: The recipe.
        task: The images.
        run: Where it saves.
        state: Where it starts.
        batches: Batches in an epoch.
    """

    def __init__(self, recipe: ToyRecipe, task: Task, run: Run, state: _State, batches: int) -> None:
        self.recipe, self.task, self.run, self.state, self.batches = recipe, task, run, state, batches
        self.loss, self.seen = 0.0, 0

    def step(self, pixels: Floats, labels: npt.NDArray[np.int64]) -> None:
        """Learns from the next batch of the epoch."""
        self.loss += _step(self.state, self.recipe, pixels, labels)
        self.state.batch += 1
        self.seen += len(labels)
        if self.state.batch == self.batches:
            self.state.epoch, self.state.batch = self.state.epoch + 1, 0

    def done(self, val_images: Sequence[npt.NDArray[np.uint8]]) -> Epoch:
        """Scores and saves where it stands.

        Raises:
            Diverged: The loss, or a weight, is not a finite number.
        """
        state, task = self.state, self.task
        at = state.epoch + state.batch / self.batches
        if not all(math.isfinite(total) for total in (self.loss, state.weight.sum(), state.bias.sum())):
            raise Diverged(f"the loss was {self.loss} after {at:.2f} epochs", hint="try a smaller lr")
        model = ToyModel(
            classes=task.classes, size=self.recipe.size, weight=state.weight, bias=state.bias, mean=state.mean
        )
        tensors, facts = model.state()
        tensors |= {"weight_velocity": state.weight_velocity, "bias_velocity": state.bias_velocity}
        facts |= {"at": at, "epoch": state.epoch, "batch": state.batch}
        metrics = score(model.predict(val_images), task.val.labels)
        epoch = Epoch(at=at, images=self.seen, metrics=metrics, checkpoint=self.run.save(tensors, facts))
        self.loss, self.seen = 0.0, 0
        return epoch


class ToyTrainer(Trainer[ToyRecipe]):
    """Softmax regression on averaged pixels."""

    def fit(self, recipe: ToyRecipe, data: Data, run: Run) -> Generator[Epoch, None, None]:
        """Trains, yielding after every epoch, and once more when the time is up within one.

        Raises:
            BadData: An image cannot be read any more.
            Diverged: The loss, or a weight, is not a finite number.
        """
        for epochs in self._train([recipe], data, [run]):
            if isinstance(epochs[0], Diverged):
                raise epochs[0]
            yield epochs[0]

    def fit_many(
        self, recipes: Sequence[ToyRecipe], data: Data, runs: Sequence[Run]
    ) -> Generator[Mapping[int, Epoch], None, None]:
        """Trains several recipes on the same batches of images, which are read and shrunk once.

        Raises:
            BadData: An image cannot be read any more.
        """
        for epochs in self._train(recipes, data, runs):
            for i, epoch in epochs.items():
                if isinstance(epoch, Diverged):
                    runs[i].fail(epoch)
            yield {i: epoch for i, epoch in epochs.items() if isinstance(epoch, Epoch)}

    def _train(
        self, recipes: Sequence[ToyRecipe], data: Data, runs: Sequence[Run]
    ) -> Generator[dict[int, Epoch | Diverged], None, None]:
        """Trains recipes that share size and batches, yielding by their place what became of each in an epoch."""
        task, first = data.task, recipes[0]
        pixels, labels = _pixels(task.train, first.size), task.train.labels
        val_images = [_read(task.val, i) for i in range(len(task.val))]
        batches = math.ceil(len(labels) / first.batch_size)
        courses = {}
        for i, (recipe, run) in enumerate(zip(recipes, runs, strict=True)):
            state = _resumed(run.resume) if run.resume else _fresh(pixels, len(task.classes))
            courses[i] = _Course(recipe, task, run, state, batches)

        def epochs_done() -> dict[int, Epoch | Diverged]:
            done: dict[int, Epoch | Diverged] = {}
            for i, course in list(courses.items()):
                try:
                    done[i] = course.done(val_images)
                except Diverged as error:
                    done[i] = error
                    del courses[i]
            return done

        while courses and (epoch := next(iter(courses.values())).state.epoch) < runs[0].epochs:
            order = np.random.default_rng([runs[0].seed, epoch]).permutation(len(labels))
            for batch in range(next(iter(courses.values())).state.batch, batches):
                told = {i: course.run.stop() for i, course in courses.items()}
                for i in (i for i, reason in told.items() if reason == "prune"):
                    del courses[i]
                if not courses or "pause" in told.values():
                    return
                if "deadline" in told.values():
                    if next(iter(courses.values())).seen:
                        yield epochs_done()
                    return
                chosen = order[batch * first.batch_size :][: first.batch_size]
                for course in courses.values():
                    course.step(pixels[chosen], labels[chosen])
                time.sleep(first.sleep / batches)
            yield epochs_done()

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> ToyModel:
        """The model from a checkpoint; it runs on the CPU whatever the device."""
        return ToyModel.from_state(checkpoint.tensors(), checkpoint.facts)

    def pace(self, recipe: ToyRecipe, data: Data, run: Run) -> float:
        """Seconds for one epoch, measured on at most 20 batches."""
        split = data.task.train
        few = split.take(range(min(len(split), 20 * recipe.batch_size)))
        pixels = _pixels(few, recipe.size)
        state = _fresh(pixels, len(data.task.classes))
        begin = time.perf_counter()
        for first in range(0, len(few), recipe.batch_size):
            batch = slice(first, first + recipe.batch_size)
            _step(state, recipe, pixels[batch], few.labels[batch])
        return (time.perf_counter() - begin) * len(split) / len(few) + recipe.sleep


def _fresh(pixels: Floats, classes: int) -> _State:
    shape = (pixels.shape[1], classes)
    return _State(
        weight=np.zeros(shape, np.float32),
        bias=np.zeros(classes, np.float32),
        weight_velocity=np.zeros(shape, np.float32),
        bias_velocity=np.zeros(classes, np.float32),
        mean=pixels.mean(axis=0),
    )


def _resumed(checkpoint: Checkpoint) -> _State:
    names = ("weight", "bias", "weight_velocity", "bias_velocity", "mean")
    tensors = checkpoint.tensors()
    return _State(
        **{name: tensors[name].copy() for name in names},
        epoch=checkpoint.facts["epoch"],
        batch=checkpoint.facts["batch"],
    )


def _step(state: _State, recipe: ToyRecipe, pixels: Floats, labels: npt.NDArray[np.int64]) -> float:
    """One step on pixels [B, D] and labels [B]; returns the mean loss before it, nan or inf if it diverged."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a loss that is not finite says it all
        inputs = pixels - state.mean
        logits = inputs @ state.weight + state.bias
        logits -= logits.max(axis=1, keepdims=True)
        gradient = np.exp(logits)
        total = gradient.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        loss = float((np.log(total[:, 0]) - logits[rows, labels]).mean())
        gradient /= total
        gradient[rows, labels] -= 1
        gradient /= len(labels)
        _move(state.weight, state.weight_velocity, inputs.T @ gradient + recipe.weight_decay * state.weight, recipe)
        _move(state.bias, state.bias_velocity, gradient.sum(axis=0), recipe)
    return loss


def _move(value: Floats, velocity: Floats, gradient: Floats, recipe: ToyRecipe) -> None:
    velocity *= recipe.momentum
    velocity += gradient
    value -= recipe.lr * (gradient + recipe.momentum * velocity if recipe.opt == "nesterov" else velocity)


def _pixels(split: Split, size: int) -> Floats:
    """Every image of a side, float32 [N, size * size * 3]."""
    return np.stack([shrink(_read(split, i), size) for i in range(len(split))])


def _read(split: Split, i: int) -> npt.NDArray[np.uint8]:
    try:
        return split.image(i)
    except DataError as error:
        raise BadData(error.message, hint=error.hint) from error
