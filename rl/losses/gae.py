"""Generalised advantage estimation (Schulman et al. 2016, "High-Dimensional Continuous Control Using GAE").

NumPy in and out: it runs once an unroll on the learner's host, before minibatches are drawn. One compiled pass from the
last step to the first; arrays may be read-only.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float32, float64, njit, types, void

_Floats = types.Array(float32, 2, "C", readonly=True)  # "readonly" takes both kinds
_Bools = types.Array(boolean, 2, "C", readonly=True)


def gae(
    rewards: np.ndarray,
    values: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    valid: np.ndarray,
    discount: float,
    lam: float,
    final_values: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages and returns, each [T, B] float32, of T steps of B environments (section 3, equation 16).

        δ_t = r_t + discount · v'_t - v_t        A_t = δ_t + discount · lam · A_{t+1}        R_t = A_t + v_t

    * The successor's value v'_t is 0 where the step terminated the episode; else final_values[t] where the step
      truncated it and that is known; else values[t + 1].
    * A_{t+1} counts as 0 behind the last step, behind the end of an episode, and at an invalid step.
    * Invalid steps have advantage 0 and return v_t, whatever their rewards and flags say, NaN included.

    Args:
        rewards: [T, B] float32.
        values: [T + 1, B] float32, in units of the discounted sum of rewards; the last row bootstraps.
        terminated, truncated: [T, B] bool, the step ended its episode in a state without future, or cut it off.
        valid: [T, B] bool, False where the environment ignored the action and only began anew.
        discount, lam: γ and λ, in [0, 1].
        final_values: [T, B] float32, the value of an episode's last observation where values[t + 1] belongs to the
            next episode already; NaN where not known, and not looked at but where ``truncated``.
    """
    steps, lanes = rewards.shape
    assert values.shape == (steps + 1, lanes)
    assert terminated.shape == truncated.shape == valid.shape == (steps, lanes)
    if final_values is None:
        final_values = np.full((steps, lanes), np.nan, np.float32)
    assert final_values.shape == (steps, lanes)
    advantages, returns = np.empty((steps, lanes), np.float32), np.empty((steps, lanes), np.float32)
    floats = [np.ascontiguousarray(array, np.float32) for array in (rewards, values, final_values)]
    bools = [np.ascontiguousarray(array, np.bool_) for array in (terminated, truncated, valid)]
    _gae(*(*floats, *bools, discount, lam, advantages, returns))
    return advantages, returns


@njit(
    void(_Floats, _Floats, _Floats, _Bools, _Bools, _Bools, float64, float64, float32[:, ::1], float32[:, ::1]),
    cache=True,
    error_model="numpy",
)
def _gae(rewards, values, final_values, terminated, truncated, valid, discount, lam, advantages, returns):
    steps, lanes = rewards.shape
    later = np.zeros(lanes)  # A_{t+1}
    for t in range(steps - 1, -1, -1):
        for b in range(lanes):
            value = float64(values[t, b])
            advantage = 0.0
            if valid[t, b]:
                successor = float64(values[t + 1, b])
                trace = discount * lam * later[b]
                if truncated[t, b]:
                    trace = 0.0
                    if not np.isnan(final_values[t, b]):
                        successor = float64(final_values[t, b])
                if terminated[t, b]:
                    trace = successor = 0.0
                advantage = rewards[t, b] + discount * successor - value + trace
            later[b] = advantage
            advantages[t, b] = advantage
            returns[t, b] = advantage + value
