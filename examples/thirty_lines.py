"""A trainer of one's own in thirty lines, and a search over its learning rate on scikit-learn's digits.

    python examples/thirty_lines.py

A trainer that others should have is a package with an entry point: ``autotune new plugin NAME`` writes one.
"""

import sys
from typing import Annotated

import numpy as np

import autotune


class MeansRecipe(autotune.Recipe):
    """What is searched."""

    lr: Annotated[float, autotune.Float(0.001, 1.0, log=True)] = 0.1
    """How far the mean of a class moves towards each batch."""


class MeansModel(autotune.Model):
    """Takes the class with the nearest mean."""

    def __init__(self, classes, means):
        self.classes, self.means = tuple(classes), means

    def logits(self, images):
        pixels = np.stack(images).reshape(len(images), 1, -1) / 255
        return -np.square(pixels - self.means).sum(axis=2)

    def state(self):
        return {"means": self.means}, {"classes": list(self.classes)}


class MeansTrainer(autotune.Trainer[MeansRecipe]):
    """Moves the means, batch by batch."""

    def fit(self, recipe, data, run):
        train, val, classes = data.task.train, data.task.val, data.task.classes
        pixels = np.stack([train.image(i) for i in range(len(train))]).reshape(len(train), -1) / 255
        images = [val.image(i) for i in range(len(val))]
        model = self.load(run.resume) if run.resume else MeansModel(classes, np.zeros((len(classes), pixels.shape[1])))
        done = run.resume.facts["at"] if run.resume else 0
        for at in range(done + 1, run.epochs + 1):
            order = np.random.default_rng([run.seed, at]).permutation(len(train))
            for batch in np.array_split(order, 20):
                if run.stop():
                    return
                for label in np.unique(train.labels[batch]):
                    mean = pixels[batch[train.labels[batch] == label]].mean(axis=0)
                    model.means[label] += recipe.lr * (mean - model.means[label])
            accuracy = float((model.predict(images).argmax(axis=1) == val.labels).mean())
            checkpoint = run.save({"means": model.means}, {"at": at})
            yield autotune.Epoch(at=at, images=len(train), metrics={"accuracy": accuracy}, checkpoint=checkpoint)

    def load(self, checkpoint, device="cpu"):
        return MeansModel(checkpoint.facts["classes"], checkpoint.tensors()["means"])


@autotune.hookimpl
def autotune_trainers():
    """Offers the trainer."""
    return [autotune.TrainerSpec(name="means", summary="The nearest mean.", recipe=MeansRecipe, build=MeansTrainer)]


if __name__ == "__main__":
    autotune.register(sys.modules[__name__], "means")
    study = autotune.search("digits", trainer="means", trials=5, epochs=4)
    print(f"best accuracy {study.best.metrics['accuracy']:.3f} with lr={study.best.trial.recipe['lr']:.4f}")
