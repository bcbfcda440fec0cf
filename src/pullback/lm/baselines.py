"""How well text is predicted without a network: bits for each byte under byte n-grams, and as xz compresses it."""

from __future__ import annotations

import lzma
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, fail

Array = np.ndarray[Any, Any]


class NGram:
    """Byte n-grams with Witten-Bell smoothing: what follows the last `order` bytes, as often as it did in training.

    P_k(b | c) = (n(c b) + t(c) P_{k-1}(b | c')) / (n(c) + t(c)),   P_{-1}(b) = 1/256

    n counts how often, t how many different bytes have followed the context c; c' is c without its first byte. Where
    nothing has, P_k is P_{k-1}.
    """

    def __init__(self, training: bytes, order: int = 3) -> None:
        if not 0 <= order <= 7:
            fail(ArgumentError, f"n-grams of order {order}", "use an order from 0 to 7: eight bytes are one integer")
        self.order = order
        self.tables = [_Table.of(_grams(training, k)) for k in range(order + 1)]

    def probabilities(self, data: bytes) -> Array:
        """Of each byte, after those before it in `data`."""
        p = np.full(len(data), 1 / 256)
        for k, table in enumerate(self.tables):
            grams = _grams(data, k)
            n, (n_context, t) = table.times(grams), table.followed(grams >> np.uint64(8))
            lower = p[k:]  # the first k bytes have no context of this length
            p[k:] = np.divide(n + t * lower, n_context + t, out=lower.copy(), where=n_context > 0)
        return p

    def bits_per_byte(self, data: bytes) -> float:
        """-log2 P of `data`, for each of its bytes."""
        _not_empty(data)
        return float(-np.log2(self.probabilities(data)).mean())


class _Table(NamedTuple):
    """What was counted for one length of context; keys are sorted."""

    grams: Array  # context and next byte, as one integer
    n: Array
    contexts: Array
    n_context: Array
    t: Array

    @staticmethod
    def of(grams: Array) -> _Table:
        kinds, n = np.unique(grams, return_counts=True)
        contexts, begin, t = np.unique(kinds >> np.uint64(8), return_index=True, return_counts=True)
        return _Table(kinds, n, contexts, np.add.reduceat(n, begin) if len(n) else n, t)

    def times(self, grams: Array) -> Array:
        return _looked_up(grams, self.grams, self.n)

    def followed(self, contexts: Array) -> tuple[Array, Array]:
        return _looked_up(contexts, self.contexts, self.n_context), _looked_up(contexts, self.contexts, self.t)


def _grams(data: bytes, k: int) -> Array:
    """Each k + 1 bytes in a row as one integer, the last byte lowest."""
    values = np.frombuffer(data, np.uint8)
    length = max(len(values) - k, 0)
    grams = np.zeros(length, np.uint64)
    for i in range(k + 1):
        grams = grams << np.uint64(8) | values[i : i + length]
    return grams


def _looked_up(wanted: Array, keys: Array, values: Array) -> Array:
    """The values of keys, 0 for those that are not there."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


def xz_bits_per_byte(training: bytes, data: bytes, most: int | None = None) -> float:
    """What `data` adds to a compressed file that begins with the training data, or with its first `most` bytes."""
    _not_empty(data)
    training = training[:most]
    return (_xz(training + data) - _xz(training)) * 8 / len(data)


def _xz(data: bytes) -> int:
    """The size of `data` as xz makes it at its best, with a dictionary that reaches back to the beginning."""
    dictionary = min(max(len(data), 4096), 1536 * 2**20)  # the most that the format has
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
    return len(lzma.compress(data, filters=filters))


def _not_empty(data: bytes) -> None:
    if not data:
        fail(ArgumentError, "bits per byte of nothing", "give the bytes that are to be predicted")
