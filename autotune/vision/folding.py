"""Frozen parts that take fewer passes over memory.

In evaluation, batch normalisation multiplies every channel by a number and adds another. A convolution before it can
do both, with other weights (`torch.nn.utils.fusion`), and what the two give together is the same to rounding. These
weights are computed anew for every batch: that takes little beside the convolution, and what is trained meanwhile, by
whatever optimizer, is never missed.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from autotune.vision.agreement import CLOSE, far
from autotune.vision.slicing import Flow
from autotune.vision.steps import Untraceable
from autotune.vision.tracing import operations


def fold(part: torch.nn.Module, values: Sequence[torch.Tensor]) -> torch.fx.GraphModule | None:
    """The same part with batch normalisation folded into convolutions, or None where there is nothing to fold.

    Only on the CPU, where a pass over memory costs more than a call: a GPU would compute hundreds of small tensors for
    every batch, and whether that pays was not measured.

    Args:
        part: All of it in evaluation mode; gives a tuple of tensors.
        values: What it takes, each of at least three rows [N, ...]: the two are compared on them.

    Returns:
        A part that holds the network's own tensors; call it without gradients.
    """
    if values[0].device.type != "cpu" or not any(isinstance(child, _BatchNorm) for child in part.modules()):
        return None
    try:
        steps, ends = operations(part, values)
        flow = Flow(steps, ends[0])
        given = [flow.digests[at] for at in range(len(values))]
        graph = flow.part(part, given, [flow.digests[end] for end in ends])
    except Untraceable:
        return None
    pairs = list(_pairs(graph.graph))
    for convolution, normalisation, taken in pairs:
        _replace(graph.graph, convolution, normalisation, taken)
    graph.recompile()
    with torch.no_grad():
        differs = any(far(one, other, CLOSE) for one, other in zip(graph(*values), part(*values), strict=True))
    return graph if pairs and not differs else None


def _pairs(graph: torch.fx.Graph) -> Iterator[tuple[torch.fx.Node, torch.fx.Node, tuple[Any, ...]]]:
    """Convolutions that only a batch normalisation in evaluation reads, with what `fuse_conv_bn_weights` takes."""
    for node in graph.nodes:
        if node.op != "call_function" or node.target is not functional.batch_norm:
            continue
        bound = inspect.signature(functional.batch_norm).bind(*node.args, **node.kwargs)
        bound.apply_defaults()
        norm, conv = bound.arguments, bound.arguments["input"]
        if norm["training"] or conv.target is not functional.conv2d or list(conv.users) != [node]:
            continue
        _, weight, bias, *_ = (*conv.args, conv.kwargs.get("bias"), None)
        statistics = norm["running_mean"], norm["running_var"], norm["eps"]
        yield conv, node, (weight, bias, *statistics, norm["weight"], norm["bias"])


def _replace(
    graph: torch.fx.Graph, convolution: torch.fx.Node, normalisation: torch.fx.Node, taken: tuple[Any, ...]
) -> None:
    """Lets a convolution do what the normalisation after it did, in its place: all that it takes is there by then."""
    with graph.inserting_before(normalisation):
        fused = graph.call_function(fuse_conv_bn_weights, taken)
        weight, bias = (graph.call_function(operator.getitem, (fused, at)) for at in range(2))
        args = (convolution.args[0], weight, bias, *convolution.args[3:])
        kwargs = {name: value for name, value in convolution.kwargs.items() if name != "bias"}
        both = graph.call_function(functional.conv2d, args, kwargs)
    normalisation.replace_all_uses_with(both)
    graph.erase_node(normalisation)
    graph.erase_node(convolution)
