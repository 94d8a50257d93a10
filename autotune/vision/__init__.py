"""What trainers share: devices, images to tensors, augmentation, freezing, optimisers, the training loop.

Public, and loaded when a name is first used: everything below imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.vision.arrays import (
        ArrayCache as ArrayCache,
        Arrays as Arrays,
        NoRoom as NoRoom,
        fingerprint as fingerprint,
    )
    from autotune.vision.asking import Asking as Asking
    from autotune.vision.augment import (
        POLICIES as POLICIES,
        BatchPolicy as BatchPolicy,
        build_batch_policy as build_batch_policy,
        build_policy as build_policy,
    )
    from autotune.vision.average import Average as Average
    from autotune.vision.boundary import (
        Boundaries as Boundaries,
        BoundaryFeed as BoundaryFeed,
        BoundaryRows as BoundaryRows,
    )
    from autotune.vision.compiling import Compiling as Compiling
    from autotune.vision.cuts import Cut as Cut, Cuts as Cuts
    from autotune.vision.decoded import evaluation_view as evaluation_view, to_array as to_array
    from autotune.vision.device import (
        Placement as Placement,
        is_out_of_memory as is_out_of_memory,
        memory_named as memory_named,
        pick_device as pick_device,
    )
    from autotune.vision.digests import weights_digest as weights_digest
    from autotune.vision.doubts import (
        cross_fitted as cross_fitted,
        frozen_features as frozen_features,
        pixel_features as pixel_features,
    )
    from autotune.vision.freezing import (
        Partition as Partition,
        freeze as freeze,
        require_gradients as require_gradients,
        train_mode as train_mode,
    )
    from autotune.vision.graphs import Graphs as Graphs, without_graphs as without_graphs
    from autotune.vision.halving import Halving as Halving
    from autotune.vision.headplans import HeadPlan as HeadPlan
    from autotune.vision.heads import (
        build_module as build_module,
        knows_some as knows_some,
        linear_head as linear_head,
    )
    from autotune.vision.images import Feed as Feed, Images as Images, normalise as normalise
    from autotune.vision.imbalance import BalancedLoss as BalancedLoss, Balancing as Balancing
    from autotune.vision.linear_probe import fit_linear as fit_linear
    from autotune.vision.loop import (
        Trained as Trained,
        evaluate as evaluate,
        train_epoch as train_epoch,
        train_step as train_step,
    )
    from autotune.vision.manyheads import ManyHeads as ManyHeads, Rows as Rows, heads_that_fit as heads_that_fit
    from autotune.vision.metrics import METRICS as METRICS, score as score, score_tasks as score_tasks
    from autotune.vision.mixing import Mix as Mix, make_mix as make_mix
    from autotune.vision.model import TorchModel as TorchModel
    from autotune.vision.neighbours import knn_probabilities as knn_probabilities, prototypes as prototypes
    from autotune.vision.optim import Rates as Rates, make_optimizer as make_optimizer, set_rates as set_rates
    from autotune.vision.penalties import Penalties as Penalties, make_penalties as make_penalties
    from autotune.vision.preparing import (
        common_size as common_size,
        preprocess_for as preprocess_for,
        preprocess_of as preprocess_of,
    )
    from autotune.vision.presetting import (
        batch_of as batch_of,
        size_presets as size_presets,
        training_images as training_images,
        tuning_presets as tuning_presets,
        unread_of_blocks as unread_of_blocks,
    )
    from autotune.vision.progress import further as further
    from autotune.vision.randomness import seed_all as seed_all
    from autotune.vision.ratefinder import find_rates as find_rates
    from autotune.vision.scaling import Scaling as Scaling
    from autotune.vision.schedules import Schedule as Schedule
    from autotune.vision.seeds import derive as derive
    from autotune.vision.state import averaged as averaged, capture as capture, restore as restore
    from autotune.vision.statistics import refresh_statistics as refresh_statistics
    from autotune.vision.tasks import (
        TaskFeed as TaskFeed,
        TaskLoss as TaskLoss,
        task_columns as task_columns,
    )
    from autotune.vision.unfreezing import Openings as Openings, at_most as at_most, check_openings as check_openings
    from autotune.vision.vectors import VectorFeed as VectorFeed, moments as moments, standard as standard

_HOMES = {
    "arrays": "ArrayCache Arrays NoRoom fingerprint",
    "asking": "Asking",
    "augment": "POLICIES BatchPolicy build_batch_policy build_policy",
    "average": "Average",
    "boundary": "Boundaries BoundaryFeed BoundaryRows",
    "compiling": "Compiling",
    "cuts": "Cut Cuts",
    "decoded": "evaluation_view to_array",
    "device": "Placement is_out_of_memory memory_named pick_device",
    "digests": "weights_digest",
    "doubts": "cross_fitted frozen_features pixel_features",
    "freezing": "Partition freeze require_gradients train_mode",
    "graphs": "Graphs without_graphs",
    "halving": "Halving",
    "headplans": "HeadPlan",
    "heads": "build_module knows_some linear_head",
    "images": "Feed Images normalise",
    "imbalance": "BalancedLoss Balancing",
    "linear_probe": "fit_linear",
    "loop": "Trained evaluate train_epoch train_step",
    "manyheads": "ManyHeads Rows heads_that_fit",
    "metrics": "METRICS score score_tasks",
    "mixing": "Mix make_mix",
    "model": "TorchModel",
    "neighbours": "knn_probabilities prototypes",
    "optim": "Rates make_optimizer set_rates",
    "penalties": "Penalties make_penalties",
    "preparing": "common_size preprocess_for preprocess_of",
    "presetting": "batch_of size_presets training_images tuning_presets unread_of_blocks",
    "progress": "further",
    "randomness": "seed_all",
    "ratefinder": "find_rates",
    "scaling": "Scaling",
    "schedules": "Schedule",
    "seeds": "derive",
    "state": "averaged capture restore",
    "statistics": "refresh_statistics",
    "tasks": "TaskFeed TaskLoss task_columns",
    "unfreezing": "Openings at_most check_openings",
    "vectors": "VectorFeed moments standard",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"autotune.vision.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'autotune.vision' has no attribute {name!r}")
