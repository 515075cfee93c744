"""Answers of the network that searches recall instead of asking again, in the lanes' shared arrays (``tree.Lanes``).

Each has one place, by the fingerprint of what was asked; a newer one takes it over. Answers of other weights are told
apart by the era, which is part of the fingerprint, so that nothing has to be cleared when new weights come.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FIELDS = ("key", "era", "recalled", "cache_key", "cache_logits", "cache_wdl")  # of Lanes, all of them ours


def draw_keys(size: int) -> np.ndarray:
    """The odd random numbers [size] of ``fingerprint``, the same in every process."""
    return np.random.default_rng(0).integers(1 << 63, size=size, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


@njit(error_model="numpy")
def mixed(bits):
    """As in the finaliser of MurmurHash3."""
    bits = (bits ^ (bits >> np.uint64(32))) * np.uint64(0xFF51AFD7ED558CCD)
    return bits ^ (bits >> np.uint64(32))


@njit(error_model="numpy")
def fingerprint(planes, era, keys):
    """64 bits for the network's input [C, H, W] and the era; never 0.

    Multilinear hashing (Carter and Wegman 1979): the sum of each word times a random number of its place, ``keys``
    [C·H·W], all odd. A processor works out many of the products at a time.
    """
    words = planes.reshape(planes.size).view(np.uint32)
    total = np.uint64(0)
    for i in range(words.shape[0]):
        word = np.uint64(words[i])
        # 0.0 and 1.0 differ in no low bit, and products carry differences upwards only.
        total += (word ^ (word >> np.uint64(23))) * keys[i]
    return mixed(mixed(total) + np.uint64(era)) | np.uint64(1)


@njit(error_model="numpy")
def place_of(lanes, key):
    return np.int64((key >> np.uint64(1)) & np.uint64(lanes.cache_key.shape[0] - 1))


@njit(error_model="numpy")
def recall(lanes, work, row):
    """The place of the network's answer to this row of planes, -1 where it has to be asked; notes the row's key."""
    if lanes.cache_key.shape[0] == 0:
        return -1
    key = fingerprint(lanes.planes[row], lanes.era[0], work.keys)
    lanes.key[row] = key
    place = place_of(lanes, key)
    if lanes.cache_key[place] != key:
        return -1
    lanes.recalled[0] += 1
    return place


@njit(error_model="numpy")
def remember(lanes, row, logits, wdl, i):
    """Keep the network's answer to this row of planes, the i-th of logits and wdl, in place of an older one."""
    if lanes.cache_key.shape[0] == 0:
        return
    key = lanes.key[row]
    place = place_of(lanes, key)
    lanes.cache_key[place] = key
    kept = lanes.cache_logits[place]
    for a in range(kept.shape[0]):
        kept[a] = logits[i, a]
    for k in range(3):
        lanes.cache_wdl[place, k] = wdl[i, k]
