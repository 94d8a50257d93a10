"""What a network computes beside its weights: by which versions of packages, by which code, with which settings."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import torch

RELEASED = {"timm", "torch", "torchvision", *sys.stdlib_module_names}
"""Packages whose code changes with their version only; following it would take up to a second."""

PLAIN = bool | int | float | complex | str | bytes | None


def versions(*objects: object) -> list[tuple[str, str]]:
    """The packages that objects' classes come from, with their versions; empty where a package tells none."""
    packages = {"torch", *(_package(type(thing).__module__) for thing in objects)}
    return sorted((name, str(getattr(sys.modules.get(name), "__version__", ""))) for name in packages)


def making(module: torch.nn.Module) -> list[tuple[str, str, str, str]]:
    """Of every submodule its name, its class, a digest of the class's code, and its settings as it prints them.

    The code is that of the class and its bases, and of the functions and classes that it calls by their names, but for
    those of released packages: a plugin that was edited in place is another one. Rates of dropout are no settings
    here, since a frozen part is in evaluation.
    """
    return [(name, *_told(child)) for name, child in module.named_modules()]


def digest(*parts: object) -> str:
    """Of what parts print, hexadecimal."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def _package(module: str) -> str:
    return module.partition(".")[0]


def _told(module: torch.nn.Module) -> tuple[str, str, str]:
    kind: Any = type(module)
    settings = "" if "drop" in kind.__name__.lower() else module.extra_repr()
    return f"{kind.__module__}.{kind.__qualname__}", _code(kind), settings


@cache
def _code(kind: type) -> str:
    """Of what is loaded: an edited file would name values that it did not make."""
    told: list[tuple[str, str]] = []
    seen: set[type | FunctionType] = set()
    waiting: list[type | FunctionType] = [kind]
    while waiting:
        thing = waiting.pop()
        if thing in seen or _package(str(thing.__module__)) in RELEASED:
            continue
        seen.add(thing)
        content, used = _of_class(thing) if isinstance(thing, type) else _of_function(thing)
        told.append((f"{thing.__module__}.{thing.__qualname__}", content))
        waiting += used
    return digest(sorted(told)) if told else ""


def _of_class(kind: type) -> tuple[str, list[type | FunctionType]]:
    """Its plain attributes, and its bases and functions."""
    plain, used = [], list[object](kind.__bases__)
    for name, value in vars(kind).items():
        if isinstance(value, PLAIN) and not name.startswith("__"):
            plain.append((name, value))
        elif isinstance(value, property):
            used.append(value.fget)
        else:
            used.append(getattr(value, "__func__", value) if isinstance(value, staticmethod | classmethod) else value)
    return repr(sorted(plain)), [value for value in used if isinstance(value, FunctionType | type)]


def _of_function(function: FunctionType) -> tuple[str, list[type | FunctionType]]:
    """Its code and the plain values that it reads, and the functions and classes that it names."""
    codes = list(_codes(function.__code__))
    names = sorted({name for code in codes for name in code.co_names})
    values = {name: function.__globals__[name] for name in names if name in function.__globals__}
    modules = [value for value in values.values() if isinstance(value, ModuleType)]
    empty = CellType()
    cells = [cell.cell_contents for cell in function.__closure__ or () if cell != empty]
    inner = [vars(module)[name] for module in modules for name in names if name in vars(module)]
    plain = [(name, value) for name, value in values.items() if isinstance(value, PLAIN)]
    used = [inspect.unwrap(value) if callable(value) else value for value in (*values.values(), *cells, *inner)]
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    given = [value for value in (*defaults, *cells) if isinstance(value, PLAIN)]
    told = [(code.co_code, code.co_names, code.co_varnames, _constants(code)) for code in codes]
    return repr((told, plain, given)), [value for value in used if isinstance(value, FunctionType | type)]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from _codes(value)


def _constants(code: CodeType) -> list[object]:
    """What prints the same in every process: a set has another order in each."""
    found = [value for value in code.co_consts if not isinstance(value, CodeType)]
    return [sorted(map(repr, value)) if isinstance(value, frozenset) else value for value in found]
