"""The random choices of several streams, of which each must come out as if it ran alone.

MLX has one random state a thread. Its key is two numbers of 32 bits, and a seed is nothing but a new key, so a state
can be put back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx


def random_key() -> int:
    """The key of this thread: what `mx.random.seed` takes to go on from here."""
    high, low = mx.random.state[0].tolist()  # type: ignore[index] # mlx types it as an object
    return int(high) << 32 | int(low)


class RandomChoices:
    """Those of one stream; they begin with a seed, and go on where they stopped."""

    def __init__(self, seed: int) -> None:
        self._key = seed

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Inside, MLX draws from this stream's state; whoever draws around it does not notice."""
        others = random_key()
        mx.random.seed(self._key)
        try:
            yield
        finally:
            self._key = random_key()
            mx.random.seed(others)
