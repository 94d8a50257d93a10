"""Seeds that derive from one another, so that nothing random depends on what ran before it."""

from __future__ import annotations

import hashlib


def derive(seed: int, *parts: object) -> int:
    """A seed in [0, 2**63) for one purpose, e.g. ``derive(seed, "order", epoch)``.

    Equal arguments give equal seeds on every machine; what draws by such seeds needs no saved random state, for every
    epoch begins with its own.
    """
    text = "/".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
