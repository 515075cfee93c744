"""Random numbers for compiled code.

Numba's own generator is global to a thread; here a stream is an array [1] uint64 of the caller's, so that whoever
owns it can seed it, save it and repeat what it gave. Splitmix64 (Steele, Lea and Flood 2014).
"""

from __future__ import annotations

from numba import float64, int64, njit, uint64


@njit(uint64(uint64[::1]), cache=True)
def draw_bits(stream):
    """64 random bits and one step of the stream [1]."""
    stream[0] += uint64(0x9E3779B97F4A7C15)
    z = stream[0]
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    return z ^ (z >> uint64(31))


@njit(int64(uint64[::1], int64), cache=True)
def draw_below(stream, limit):
    """Uniform integer in [0, limit), limit below 2**32."""
    # Multiply and shift (Lemire 2019): several times as fast as a remainder; the bias is below limit / 2**32.
    return int64(((draw_bits(stream) >> uint64(32)) * uint64(limit)) >> uint64(32))


@njit(float64(uint64[::1]), cache=True)
def draw_uniform(stream):
    """Uniform in [0, 1), in steps of 2**-53."""
    return (draw_bits(stream) >> uint64(11)) * (1.0 / 9007199254740992.0)
