"""Random draws of exploration, in compiled code: Gumbel and gamma variates from a stream [1] uint64."""

from __future__ import annotations

import math

from numba import njit

from envs.stream import draw_uniform


@njit
def draw_gumbel(stream):
    """Standard Gumbel."""
    exponential = -math.log(1.0 - draw_uniform(stream))
    return -math.log(max(exponential, 1e-300))


@njit
def draw_normal(stream):
    """Standard normal (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - draw_uniform(stream)))
    return radius * math.cos(2.0 * math.pi * draw_uniform(stream))


@njit
def draw_gamma(stream, shape):
    """Gamma of the given shape and scale 1 (Marsaglia and Tsang 2000; below shape 1 by their section 6)."""
    boost = 1.0
    if shape < 1.0:
        boost = (1.0 - draw_uniform(stream)) ** (1.0 / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = draw_normal(stream)
        v = (1.0 + c * x) ** 3
        if v > 0.0 and math.log(1.0 - draw_uniform(stream)) < 0.5 * x * x + d * (1.0 - v + math.log(v)):
            return boost * d * v
