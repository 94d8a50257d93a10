"""Frozen parts that take fewer passes over memory.

In evaluation, batch normalisation multiplies every channel by a number and adds another. A convolution before it can
do both, with other weights (`torch.nn.utils.fusion`), and what the two give together is the same to rounding: in 48
networks of timm it differed by 1.4e-6 of the largest value at most. These weights are computed anew for every batch:
that takes little beside the convolution, and what was trained meanwhile, by whatever optimizer, is never missed.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from autotune.vision.agreement import CLOSE, far
from autotune.vision.slicing import Flow
from autotune.vision.tracing import operations


def fuse(part: torch.nn.Module, values: Sequence[torch.Tensor]) -> GraphModule | None:
    """The same part with batch normalisation fused into the convolutions (`conv2d`) before it.

    Only on the CPU, where a pass over memory costs more than a call: a GPU would compute hundreds of small tensors for
    every batch, and whether that pays was not measured.

    Args:
        part: All of it in evaluation mode; gives a tuple of tensors.
        values: What it takes, each of at least three rows [N, ...], none of them made in inference mode. The two are
            compared on them.

    Returns:
        A part that holds the network's own tensors, to be called without gradients; None where nothing can be fused.
    """
    if values[0].device.type != "cpu" or not any(isinstance(child, _BatchNorm) for child in part.modules()):
        return None
    try:
        steps, ends = operations(part, values)
        flow = Flow(steps, ends[0])
        fused = flow.part(part, [flow.digests[at] for at in range(len(values))], [flow.digests[end] for end in ends])
        if not _fuse_all(fused.graph):
            return None
        fused.recompile()
        with torch.no_grad():
            differs = any(far(one, other, CLOSE) for one, other in zip(fused(*values), part(*values), strict=True))
    except Exception:
        # What cannot be followed, or has no room beside itself, is computed as the network does it.
        return None
    return None if differs else fused


def _fuse_all(graph: Graph) -> bool:
    """Fuses what can be; whether there was anything."""
    pairs = list(_pairs(graph))
    for convolution, normalisation, statistics in pairs:
        _fuse(graph, convolution, normalisation, statistics)
    return bool(pairs)


def _pairs(graph: Graph) -> Iterator[tuple[Node, Node, list[Any]]]:
    """Convolutions that only a batch normalisation in evaluation reads, and what `fuse_conv_bn_weights` takes of it."""
    for node in graph.nodes:
        if node.op != "call_function" or node.target is not functional.batch_norm:
            continue
        bound = inspect.signature(functional.batch_norm).bind(*node.args, **node.kwargs)
        bound.apply_defaults()
        norm, conv = bound.arguments, bound.arguments["input"]
        statistics = [norm[name] for name in ("running_mean", "running_var", "eps", "weight", "bias")]
        if (
            not norm["training"]
            and conv.target is functional.conv2d
            and len(conv.args) > 1
            and list(conv.users) == [node]
            and all(value.op == "get_attr" for value in statistics if isinstance(value, Node))
        ):
            yield conv, node, statistics


def _fuse(graph: Graph, convolution: Node, normalisation: Node, statistics: Sequence[Any]) -> None:
    """Puts a convolution that does both in the place of the first."""
    images, weight, *rest = convolution.args
    bias, others = rest[0] if rest else convolution.kwargs.get("bias"), dict(convolution.kwargs)
    others.pop("bias", None)
    with graph.inserting_before(convolution):
        own = [graph.get_attr(str(value.target)) if isinstance(value, Node) else value for value in statistics]
        both = graph.call_function(fuse_conv_bn_weights, (weight, bias, *own))
        weight, bias = (graph.call_function(operator.getitem, (both, at)) for at in range(2))
        fused = graph.call_function(functional.conv2d, (images, weight, bias, *rest[1:]), others)
    normalisation.replace_all_uses_with(fused)
    graph.erase_node(normalisation)
    graph.erase_node(convolution)
