"""How a check says that a contract is broken."""

from __future__ import annotations


class ContractError(AssertionError):
    """A plugin does not do what its contract says; the message names the promise and what happened instead."""


def promise(kept: object, message: str) -> None:
    """Raises `ContractError` with the message unless the promise was kept."""
    if not kept:
        raise ContractError(message)
