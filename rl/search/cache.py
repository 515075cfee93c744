"""Answers of the network that searches recall instead of asking again, in the lanes' shared arrays (``tree.Lanes``).

Each has one place, by the fingerprint of what was asked; a newer one takes it over. Answers of other weights are told
apart by the era, which is part of the fingerprint, so that nothing has to be cleared when new weights come.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FIELDS = ("key", "era", "recalled", "cache_key", "cache_logits", "cache_wdl")  # of Lanes, all of them ours


@njit(error_model="numpy")
def pair(words, i):
    """Two words of 32 bits as 64, of which each has marked every part: 0.0 and 1.0 differ in few bits."""
    one = np.uint64(words[i]) * np.uint64(0x9E3779B97F4A7C15)
    other = np.uint64(words[i + 1]) * np.uint64(0xD6E8FEB86659FD93)
    return one ^ (other >> np.uint64(29)) ^ (other << np.uint64(35))


@njit(error_model="numpy")
def mixed(bits, word):
    """As in the finaliser of MurmurHash3."""
    bits = (bits ^ word) * np.uint64(0xFF51AFD7ED558CCD)
    return bits ^ (bits >> np.uint64(32))


@njit(error_model="numpy")
def fingerprint(planes, era):
    """64 bits for the network's input [C, H, W] and the era; never 0."""
    words = planes.reshape(planes.size).view(np.uint32)
    a = np.uint64(era) + np.uint64(0x9E3779B97F4A7C15)
    b, c, d = ~a, a ^ np.uint64(0xC2B2AE3D27D4EB4F), a ^ np.uint64(0x165667B19E3779F9)
    whole = words.shape[0] - words.shape[0] % 8
    for i in range(0, whole, 8):  # four chains, since each multiplication waits for the one before it
        a = mixed(a, pair(words, i))
        b = mixed(b, pair(words, i + 2))
        c = mixed(c, pair(words, i + 4))
        d = mixed(d, pair(words, i + 6))
    for i in range(whole, words.shape[0]):
        a = mixed(a, np.uint64(words[i]))
    return mixed(mixed(mixed(a, b), c), d) | np.uint64(1)


@njit(error_model="numpy")
def place_of(lanes, key):
    return np.int64((key >> np.uint64(1)) & np.uint64(lanes.cache_key.shape[0] - 1))


@njit(error_model="numpy")
def recall(lanes, row):
    """The place of the network's answer to this row of planes, -1 where it has to be asked; notes the row's key."""
    if lanes.cache_key.shape[0] == 0:
        return -1
    key = fingerprint(lanes.planes[row], lanes.era[0])
    lanes.key[row] = key
    place = place_of(lanes, key)
    if lanes.cache_key[place] != key:
        return -1
    lanes.recalled[0] += 1
    return place


@njit(error_model="numpy")
def remember(lanes, row, logits, wdl):
    """Keep the network's answer to this row of planes, in place of an older one."""
    if lanes.cache_key.shape[0] == 0:
        return
    key = lanes.key[row]
    place = place_of(lanes, key)
    lanes.cache_key[place] = key
    for a in range(logits.shape[0]):
        lanes.cache_logits[place, a] = logits[a]
    for i in range(3):
        lanes.cache_wdl[place, i] = wdl[i]
