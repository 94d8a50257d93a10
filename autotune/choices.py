"""What a study tries: candidates, space, presets and first recipes, from what was asked and what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autotune.backbone import Backbone, Facts
from autotune.candidates import Candidates, affordable, default_candidates, named_candidates, with_models
from autotune.checking import backbone_field
from autotune.config import StudyConfig
from autotune.data import Dataset
from autotune.errors import AutotuneError, PluginError
from autotune.fields import as_table, field_problems, normalised, only_value
from autotune.indexing.profile import together
from autotune.plugins import Plugins
from autotune.sizes import SIZE, check_sizes
from autotune.space import Choice, Scalar, SearchSpace
from autotune.spaces import base_space, default_space, study_space, written_space
from autotune.specs import Presets, TrainerSpec
from autotune.unchanged import check_model_unseen


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a study tries.

    Attributes:
        candidates: The backbones.
        space: What is searched.
        fixed: What is not.
        portfolio: Recipes to try first.
        reasons: What was chosen, and why.
        written_fixed: ``[fixed]`` as study.toml says it: without the backbone, which ``backbones`` says.
        written_space: ``[space]`` as study.toml says it.
    """

    candidates: Candidates
    space: SearchSpace
    fixed: Mapping[str, Scalar]
    portfolio: tuple[Mapping[str, Scalar], ...]
    reasons: tuple[str, ...]
    written_fixed: dict[str, Any]
    written_space: dict[str, Any]


def choose(
    config: StudyConfig,
    trainer: TrainerSpec,
    plugins: Plugins,
    dataset: Dataset,
    device: str,
    *,
    completed: bool,
    models: Sequence[str] = (),
) -> Choices:
    """Decides on candidates, space and presets.

    Args:
        config: What was asked.
        trainer: What trains.
        plugins: Where spaces and first recipes come from.
        dataset: The images.
        device: A torch device name.
        completed: Whether the configuration was completed when its study began; then nothing is added to it.
        models: Models of past studies, ``study:PATH``, which are candidates where none is named.

    Raises:
        AutotuneError: A candidate cannot be had or refuses an image size; the space is impossible.
    """
    field = backbone_field(trainer.recipe)
    candidates = _candidates(config, field, trainer, plugins, dataset, device, models)
    facts = [backbone.facts for backbone in candidates.backbones.values()]
    registries = {"backbones": tuple(candidates.backbones), "augmentations": tuple(plugins.augmentations)}
    default = default_space(trainer.recipe, registries)
    if completed:
        space, presets = written_space(config, trainer, default, registries), Presets(fixed={})
    else:
        base = base_space(trainer, plugins, facts, dataset, default, registries)
        space = study_space(config, trainer, base, registries)
        decided = {n for n in trainer.recipe.model_fields if dict(base).get(n) != dict(default).get(n)}
        given = {**_only_values(space), **_asked(trainer, config)}
        presets = _open(ask_presets(trainer, dataset, facts, device, given), {*config.fixed, *config.space, *decided})
    fixed = {n: normalised(trainer.recipe, n, v) for n, v in {**presets.fixed, **config.fixed}.items()}
    fixed |= _only_values(space.without(*fixed))
    # A study that has begun goes on with the space that it wrote.
    idle = (
        [] if completed else [n for n in ask_unread(trainer, fixed) if n in space and n not in {*fixed, *config.space}]
    )
    searched = space.without(*fixed, *idle)
    check_sizes(candidates.backbones, trainer.recipe, fixed, searched)
    return Choices(
        candidates=candidates,
        space=searched,
        fixed=fixed,
        portfolio=_portfolio(trainer, plugins, default, searched, dataset, field),
        reasons=(*candidates.reasons, *presets.reasons, *_unsearched(idle)),
        written_fixed={n: v for n, v in fixed.items() if n != field},
        written_space={n: as_table(d) for n, d in searched.items() if n != field},
    )


def ask_presets(
    trainer: TrainerSpec, dataset: Dataset, facts: Sequence[Facts], device: str, fixed: Mapping[str, Scalar]
) -> Presets:
    """What a trainer chooses by itself beside these fixed values.

    Raises:
        PluginError: It raises, or names what it does not have, or values that it refuses.
    """
    if trainer.presets is None:
        return Presets(fixed={})
    try:
        presets = trainer.presets(together([task.profile for task in dataset.data.tasks]), facts, device, fixed)
    except AutotuneError:
        raise
    except Exception as error:
        raise PluginError(f"trainer {trainer.name!r}: its presets raise {type(error).__name__}: {error}") from error
    unknown = [f"{n}: no such hyperparameter" for n in presets.fixed if n not in trainer.recipe.model_fields]
    wrong = [line for lines in field_problems(trainer.recipe, presets.fixed).values() for line in lines]
    if unknown or wrong:
        raise PluginError(f"trainer {trainer.name!r}: its presets are wrong: {'; '.join([*unknown, *wrong])}")
    return presets


def ask_unread(trainer: TrainerSpec, fixed: Mapping[str, Scalar]) -> list[str]:
    """The fields that a trainer does not read beside these fixed values, in the order of its recipe.

    Raises:
        PluginError: It raises, or names what it does not have.
    """
    if trainer.unread is None:
        return []
    try:
        named = set(trainer.unread(fixed))
    except Exception as error:
        raise PluginError(f"trainer {trainer.name!r}: unread raises {type(error).__name__}: {error}") from error
    if unknown := sorted(named - set(trainer.recipe.model_fields)):
        raise PluginError(f"trainer {trainer.name!r}: unread names {unknown[0]!r}, which is no hyperparameter")
    return [name for name in trainer.recipe.model_fields if name in named]


def _asked(trainer: TrainerSpec, config: StudyConfig) -> dict[str, Scalar]:
    """What the request itself fixes."""
    return {name: normalised(trainer.recipe, name, value) for name, value in config.fixed.items()}


def _only_values(space: SearchSpace) -> dict[str, Scalar]:
    """What a space fixes: the dimensions that have one value only."""
    return {name: only for name, dimension in space.items() if (only := only_value(dimension)) is not None}


def _unsearched(names: Sequence[str]) -> list[str]:
    return [f"not searched: {', '.join(names)}: nothing reads them beside what is fixed"] if names else []


def _open(presets: Presets, taken: set[str]) -> Presets:
    """The presets for what the study leaves open, with their reasons."""
    return Presets(
        fixed={n: v for n, v in presets.fixed.items() if n not in taken},
        reasons=[r for r in presets.reasons if r.split(maxsplit=1)[0].strip(":=,") not in taken],
    )


def _candidates(
    config: StudyConfig,
    field: str | None,
    trainer: TrainerSpec,
    plugins: Plugins,
    dataset: Dataset,
    device: str,
    models: Sequence[str],
) -> Candidates:
    if field is None:
        return Candidates(backbones={})
    names = config.backbones or ((str(config.fixed[field]),) if field in config.fixed else None)
    if names is not None:
        return named_candidates(names, plugins, pretrained=config.pretrained)
    size = config.fixed.get(SIZE)

    def refusal(facts: Facts) -> str | None:
        return facts.size_problem(size) if isinstance(size, int) else None

    def unseen(name: str, backbone: Backbone) -> None:
        check_model_unseen(name, backbone.weights.trained_on if backbone.weights else frozenset(), dataset)

    found = default_candidates(plugins, pretrained=config.pretrained, device=device, refusal=refusal)
    if config.pretrained:
        found = with_models(found, models, plugins, refusal=refusal, unseen=unseen)
    known = [backbone.facts for backbone in found.backbones.values()]
    presets = ask_presets(trainer, dataset, known, device, _asked(trainer, config))
    preset = presets.fixed.get(SIZE) if SIZE not in config.space else None
    size = size if size is not None else preset
    if isinstance(size, int):
        found = _fitting(found, size)
    images = sum(len(task.train) for task in dataset.data.tasks)
    return affordable(
        found,
        images=images,
        img_size=size if isinstance(size, int) else None,
        seconds=config.time,
        device=device,
        frozen=trainer.frozen,
    )


def _fitting(found: Candidates, size: int) -> Candidates:
    """Without those that refuse the image size, unless all do."""
    problems = {n: p for n, b in found.backbones.items() if (p := b.facts.size_problem(size)) is not None}
    if len(problems) == len(found.backbones):
        return found
    kept: dict[str, Backbone] = {n: b for n, b in found.backbones.items() if n not in problems}
    return replace(found, backbones=kept, reasons=(*found.reasons, *(f"{p}: left out" for p in problems.values())))


def _portfolio(
    trainer: TrainerSpec,
    plugins: Plugins,
    default: SearchSpace,
    searched: SearchSpace,
    dataset: Dataset,
    field: str | None,
) -> tuple[Mapping[str, Scalar], ...]:
    """The proposals of plugins without what is fixed, each once; the recipe's defaults where there are none.

    The first is tried with every candidate, so that candidates compare; the others with the first candidate.
    """
    proposals: list[dict[str, Scalar]] = []
    # What is fixed is asked about with its default range: a proposal that names it is still worth trying without.
    wide = SearchSpace({**default, **searched})
    for proposal in plugins.warm_starts(trainer, wide, dataset.data):
        rest = {n: v for n, v in proposal.items() if n in searched}
        if rest not in proposals:
            proposals.append(rest)
    first, *others = proposals or [{}]
    dimension = searched[field] if field is not None and field in searched else None
    if field is None or not isinstance(dimension, Choice):
        return (first, *others)
    each = [{field: name, **first} for name in dimension.values]
    return (*each, *({field: dimension.values[0], **p} for p in others))
