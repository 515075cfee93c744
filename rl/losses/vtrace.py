"""V-trace and the loss of IMPALA (Espeholt et al. 2018): learning from actors whose weights are a little old."""

from __future__ import annotations

import torch
from torch import Tensor

from rl.losses.measures import combined, explained_variance, kept, masked_mean, ratio_measures


@torch.no_grad()
def vtrace(
    log_probs_target: Tensor,
    log_probs_behaviour: Tensor,
    rewards: Tensor,
    values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    valid: Tensor,
    discount: float,
    rho_clip: float,
    c_clip: float,
    pg_rho_clip: float,
    lam: float = 1.0,
    final_values: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Targets of the values vs and advantages of the policy gradient, each [T, B], without gradient.

        δ_t = min(rho_clip, π/μ) (r_t + discount · v'_t - v_t)        c_t = lam · min(c_clip, π/μ)
        vs_t = v_t + δ_t + discount · c_t (vs_{t+1} - v_{t+1})        equation 1 in the recursive form of remark 1
        advantage_t = min(pg_rho_clip, π/μ) (r_t + discount · vs'_t - v_t)                            section 4.2

    * π/μ is the ratio of what the learner's and the actor's policy give the action.
    * The successor's value v'_t is 0 where the step terminated the episode; else final_values[t] where the step
      truncated it and that is known; else values[t + 1].
    * vs'_t is vs_{t+1}, and v'_t behind the last step, behind the end of an episode, and where step t + 1 is invalid;
      in the same places vs_{t+1} - v_{t+1} counts as 0.
    * Invalid steps have vs = v and advantage 0, whatever else their rows say, NaN included.
    * On-policy, with clips of 1 or more and lam = 1, vs is the n-step return (equation 2). With lam < 1 (remark 2) it
      is the λ-return; the advantage then still looks at vs'_t, as in the paper, and is not that of ``gae``.

    Args:
        log_probs_target, log_probs_behaviour: [T, B], log π and log μ of the actions taken, nats.
        rewards: [T, B] float32.
        values: [T + 1, B] float32, of the learner's network; the last row bootstraps.
        terminated, truncated: [T, B] bool, the step ended its episode in a state without future, or cut it off.
        valid: [T, B] bool, False where the environment ignored the action and only began anew.
        discount: γ, in [0, 1].
        rho_clip, c_clip, pg_rho_clip: ρ̄, c̄ and the ρ̄ of the policy gradient. The paper's theorem wants ρ̄ ≥ c̄.
        lam: λ, in [0, 1].
        final_values: [T, B] float32, the value of an episode's last observation where values[t + 1] belongs to the
            next episode already; NaN where not known, and not looked at but where ``truncated``.
    """
    steps, lanes = rewards.shape
    assert values.shape == (steps + 1, lanes)
    rows = (log_probs_target, log_probs_behaviour, terminated, truncated, valid)
    assert {x.shape for x in rows} == {rewards.shape}
    value, successor = values[:-1], values[1:]
    if final_values is not None:
        successor = torch.where(truncated & ~final_values.isnan(), final_values, successor)
    successor = torch.where(terminated, 0.0, successor)

    ratio = kept(log_probs_target - log_probs_behaviour, valid).exp()
    errors = kept(rewards + discount * successor - value, valid)
    delta = ratio.clamp(max=rho_clip) * errors
    goes_on = valid & ~terminated & ~truncated
    decay = discount * lam * ratio.clamp(max=c_clip) * goes_on
    gain = torch.zeros_like(delta[0])  # vs - v of the step behind
    gains = []
    for delta_t, decay_t in zip(reversed(delta.unbind()), reversed(decay.unbind()), strict=True):
        gain = torch.addcmul(delta_t, decay_t, gain)
        gains.append(gain)
    gains.reverse()
    behind = torch.stack([*gains[1:], torch.zeros_like(gain)])
    advantages = ratio.clamp(max=pg_rho_clip) * (errors + discount * goes_on * behind)
    return value + torch.stack(gains), advantages


def impala_loss(
    log_probs_target: Tensor,
    log_probs_behaviour: Tensor,
    vs: Tensor,
    pg_advantages: Tensor,
    values: Tensor,
    entropy: Tensor,
    mask: Tensor,
    value_weight: float,
    entropy_weight: float,
    rho_clip: float = 1.0,
) -> dict[str, Tensor]:
    """Loss and measures of an unroll, each a float32 scalar; differentiate ``loss``, the others are detached.

        loss = -mean pg_advantages · log π + value_weight · mean ½ (vs - v)² - entropy_weight · mean entropy

    Section 4.2, with means over the valid steps in place of sums over the batch.

    Args (all [T, B]):
        log_probs_target, values, entropy: of the network in training, nats; these three get gradients.
        log_probs_behaviour: of the network that acted.
        vs, pg_advantages: from ``vtrace``.
        mask: bool, False at invalid steps, which have no influence and get no gradient.
        rho_clip: what ``vtrace`` was given, for clip_fraction alone.

    Returns:
        The measures of ``ppo_loss``, where clip_fraction is the share of π/μ above ``rho_clip``, and
        explained_variance that of vs by the values.
    """
    shapes = {x.shape for x in (log_probs_target, log_probs_behaviour, vs, pg_advantages, values, entropy)}
    assert shapes == {mask.shape}, shapes
    policy_loss = -masked_mean(kept(log_probs_target, mask) * pg_advantages.detach(), mask)
    value_loss = 0.5 * masked_mean(kept(vs.detach() - values, mask).square(), mask)
    measures = combined(policy_loss, value_loss, entropy, mask, value_weight, entropy_weight)
    log_ratio = kept(log_probs_target - log_probs_behaviour, mask).detach()
    measures |= ratio_measures(log_ratio, lambda excess: excess + 1.0 > rho_clip, mask)
    return measures | {"explained_variance": explained_variance(vs, values, mask)}
