"""The heads: each maps the vectors beneath a network's head to logits, and takes that head's place.

They compute in float32, whatever precision the network beneath them runs in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch.nn import functional

from autotune.builtin.probe.form import Form
from autotune.vision import Rows, knn_probabilities, moments, prototypes, standard
from autotune.vision.vectors import in_order

SCALE = 10.0
"""Where the cosine head's scale starts."""
LEAST = 1e-6
"""Share of the votes that is spread over all classes, so that no probability is 0."""
NEVER = -1e4
"""The logit of a class without training images."""


class Head(torch.nn.Module, ABC):
    """A head.

    Args:
        form: Its kind and its sizes.

    Attributes:
        trained: Whether it has parameters to train; if not, `begin` is all there is to do.
    """

    trained: ClassVar[bool] = True

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits float32 [N, C] for vectors [N, D] of any floating-point type."""
        with torch.autocast(features.device.type, enabled=False):
            return self.logits(features.float())

    @abstractmethod
    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logits [N, C] for vectors float32 [N, D]."""

    @abstractmethod
    def begin(self, vectors: torch.Tensor | Rows, labels: torch.Tensor) -> None:
        """Takes from the training images what is not learned step by step.

        Args:
            vectors: float32 [N, D] on the head's device, or what gives its rows.
            labels: int64 [N] there.
        """

    def finished(self) -> torch.nn.Module:
        """The head as it is handed over."""
        return self


class Standard(torch.nn.Module):
    """Brings every feature to mean 0 and to a like scale, by the training images' moments.

    One learning rate then suits the features of all backbones, as with the affine-free batch normalisation before
    the linear probes of He et al. 2022 (arXiv:2111.06377); here the moments stay fixed, and what hardly varies among
    the training images stays small, see `autotune.vision.standard`.

    Args:
        features: How many there are.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    @torch.no_grad()
    def begin(self, vectors: torch.Tensor | Rows) -> None:
        """Takes the moments of the training images."""
        mean, scale = standard(vectors)
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Standardised vectors [N, D]."""
        return (vectors - self.mean) / self.scale


class LinearHead(Head):
    """Softmax regression on standardised features, from zeros."""

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self.standard = Standard(form.features)
        self.drop = torch.nn.Dropout(form.drop)
        self.linear = torch.nn.Linear(form.features, form.classes)
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)

    def begin(self, vectors: torch.Tensor | Rows, labels: torch.Tensor) -> None:
        """Takes the features' moments."""
        self.standard.begin(vectors)

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logits [N, C]."""
        logits: torch.Tensor = self.linear(self.drop(self.standard(vectors)))
        return logits

    @torch.no_grad()
    def finished(self) -> torch.nn.Module:
        """One plain linear layer on the features as they are: the standardisation is folded into it."""
        plain = torch.nn.Linear(self.form.features, self.form.classes, device=self.linear.weight.device)
        weight = self.linear.weight / self.standard.scale
        plain.weight.copy_(weight)
        plain.bias.copy_(self.linear.bias - weight @ self.standard.mean)
        return plain


class MlpHead(Head):
    """One hidden layer with GELU on standardised features, dropout on its units."""

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self.standard = Standard(form.features)
        self.hidden = torch.nn.Linear(form.features, form.hidden)
        self.drop = torch.nn.Dropout(form.drop)
        self.out = torch.nn.Linear(form.hidden, form.classes)

    def begin(self, vectors: torch.Tensor | Rows, labels: torch.Tensor) -> None:
        """Takes the features' moments."""
        self.standard.begin(vectors)

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logits [N, C]."""
        logits: torch.Tensor = self.out(self.drop(functional.gelu(self.hidden(self.standard(vectors)))))
        return logits


class CosineHead(Head):
    """Cosines between the features and a learned vector for each class, times a learned scale.

    Gidaris and Komodakis 2018 (arXiv:1804.09458), Chen et al. 2019 (arXiv:1904.04232). The vectors start from the
    classes' mean directions (Qi et al. 2018, arXiv:1712.07136).
    """

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self.drop = torch.nn.Dropout(form.drop)
        self.weight = torch.nn.Parameter(functional.normalize(torch.randn(form.classes, form.features), dim=1))
        self.scale = torch.nn.Parameter(torch.full((1,), SCALE))

    @torch.no_grad()
    def begin(self, vectors: torch.Tensor | Rows, labels: torch.Tensor) -> None:
        """Takes the mean direction of every class; one without images keeps a random direction."""
        means, counts = _class_means(vectors, labels, self.form.classes, unit=True)
        self.weight.copy_(torch.where(counts[:, None] > 0, functional.normalize(means, dim=1), self.weight))

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logits [N, C]."""
        directions = functional.normalize(self.drop(vectors), dim=1)
        return self.scale * (directions @ functional.normalize(self.weight, dim=1).T)


class KnnHead(Head):
    """Votes of the nearest training images, which it keeps (Wu et al. 2018, arXiv:1805.01978)."""

    trained = False
    bank: torch.Tensor
    labels: torch.Tensor

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self.register_buffer("bank", torch.zeros(form.images, form.features))
        self.register_buffer("labels", torch.zeros(form.images, dtype=torch.int64))

    @torch.no_grad()
    def begin(self, vectors: torch.Tensor | Rows, labels: torch.Tensor) -> None:
        """Keeps the training images' vectors and classes."""
        self.labels.copy_(labels)
        start = 0
        for part in in_order(vectors):
            self.bank[start : start + len(part)] = part
            start += len(part)

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logarithms of the smoothed votes [N, C]."""
        form = self.form
        votes = knn_probabilities(
            self.bank, self.labels, vectors, classes=form.classes, k=form.k, temperature=form.temperature
        )
        rest = max(form.smoothing, LEAST)
        return (votes * (1 - rest) + rest / form.classes).log()


class PrototypeHead(Head):
    """The nearest class mean (Snell et al. 2017, arXiv:1703.05175).

    By cosine the logits are the cosines over the temperature, and the means are those of the directions. By squared
    Euclidean distance they are minus the distances over the temperature and over the training images' total variance,
    so that one temperature suits features of any scale.
    """

    trained = False
    centres: torch.Tensor
    counts: torch.Tensor
    spread: torch.Tensor

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self.register_buffer("centres", torch.zeros(form.classes, form.features))
        self.register_buffer("counts", torch.zeros(form.classes, dtype=torch.int64))
        self.register_buffer("spread", torch.ones(1))

    @torch.no_grad()
    def begin(self, vectors: torch.Tensor | Rows, labels: torch.Tensor) -> None:
        """Takes the classes' means."""
        cosine = self.form.distance == "cosine"
        means, counts = _class_means(vectors, labels, self.form.classes, unit=cosine)
        self.centres.copy_(functional.normalize(means, dim=1) if cosine else means)
        self.counts.copy_(counts)
        if not cosine:
            _, deviation = moments(vectors)
            variance = deviation.square().sum()
            self.spread.copy_(torch.where(variance > 0, variance, torch.ones_like(variance)))

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logits [N, C]."""
        if self.form.distance == "cosine":
            near = functional.normalize(vectors, dim=1) @ self.centres.T
        else:
            # The squared length of the vector itself is the same for all classes, and left out.
            near = (2 * vectors @ self.centres.T - self.centres.square().sum(dim=1)) / self.spread
        return (near / self.form.temperature).masked_fill(self.counts == 0, NEVER)


HEADS: dict[str, type[Head]] = {
    "linear": LinearHead,
    "mlp": MlpHead,
    "cosine": CosineHead,
    "knn": KnnHead,
    "prototype": PrototypeHead,
}


def build_head(form: Form) -> Head:
    """A new head of some form."""
    return HEADS[form.kind](form)


def build_finished(form: Form) -> torch.nn.Module:
    """A module for the tensors of a head that was handed over; see `Head.finished`."""
    return torch.nn.Linear(form.features, form.classes) if form.kind == "linear" else build_head(form)


def _class_means(
    vectors: torch.Tensor | Rows, labels: torch.Tensor, classes: int, *, unit: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean vector of every class, or that of its directions, [C, D], and its images, int64 [C]."""
    counts = torch.bincount(labels, minlength=classes)
    sums, start = torch.zeros((), device=labels.device), 0
    for part in in_order(vectors):
        own = labels[start : start + len(part)]
        rows = functional.normalize(part, dim=1) if unit else part
        sums = sums + prototypes(rows, own, classes) * torch.bincount(own, minlength=classes)[:, None]
        start += len(part)
    return sums / counts.clamp(min=1)[:, None], counts
