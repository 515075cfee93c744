"""PPO in one file, in the manner of CleanRL's ppo.py. Needs: pip install torch gymnasium."""

import gymnasium
import numpy as np
import torch
from contender import Reporter, settings
from torch import nn
from torch.distributions import Categorical

s = settings()
torch.manual_seed(s.seed)
envs = gymnasium.vector.SyncVectorEnv(
    [lambda: gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make(s.env)) for _ in range(s.environments)],
    autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
)
assert isinstance(envs.single_observation_space, gymnasium.spaces.Box)
assert isinstance(envs.single_action_space, gymnasium.spaces.Discrete)
inputs, actions_n = int(np.prod(envs.single_observation_space.shape)), int(envs.single_action_space.n)


def layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


actor = nn.Sequential(layer(inputs, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, actions_n, 0.01))
critic = nn.Sequential(layer(inputs, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, 1, 1.0))
parameters = [*actor.parameters(), *critic.parameters()]
optimizer = torch.optim.Adam(parameters, lr=s.learning_rate, eps=1e-5)

shape = (s.steps, s.environments)
observations = torch.zeros((*shape, inputs))
actions, log_probs, rewards, dones, values = (torch.zeros(shape) for _ in range(5))
reporter = Reporter()
observation = torch.as_tensor(envs.reset(seed=s.seed)[0], dtype=torch.float32)
done = torch.zeros(s.environments)
steps = 0
reporter.begin()
while steps < s.env_steps:
    for t in range(s.steps):
        observations[t], dones[t] = observation, done
        with torch.no_grad():
            policy = Categorical(logits=actor(observation))
            action = policy.sample()
            values[t] = critic(observation).flatten()
        actions[t], log_probs[t] = action, policy.log_prob(action)
        following, reward, terminated, truncated, infos = envs.step(action.numpy())
        rewards[t] = torch.as_tensor(reward)
        observation = torch.as_tensor(following, dtype=torch.float32)
        done = torch.as_tensor(terminated | truncated, dtype=torch.float32)
        if "final_info" in infos:
            ended = infos["final_info"]["_episode"]
            for total in infos["final_info"]["episode"]["r"][ended]:
                reporter.episode(float(total))
    steps += s.steps * s.environments
    with torch.no_grad():
        following_value = critic(observation).flatten()
        advantages = torch.zeros_like(rewards)
        gain = torch.zeros(s.environments)
        for t in reversed(range(s.steps)):
            goes_on = 1 - (done if t == s.steps - 1 else dones[t + 1])
            behind = following_value if t == s.steps - 1 else values[t + 1]
            delta = rewards[t] + s.discount * behind * goes_on - values[t]
            advantages[t] = gain = delta + s.discount * s.gae_lambda * goes_on * gain
        returns = advantages + values
    flat = [x.reshape(-1, *x.shape[2:]) for x in (observations, actions, log_probs, advantages, returns)]
    for _ in range(s.epochs):
        for chosen in torch.randperm(s.steps * s.environments).split(s.minibatch):
            o, a, old, adv, ret = (x[chosen] for x in flat)
            policy = Categorical(logits=actor(o))
            ratio = (policy.log_prob(a) - old).exp()
            adv = (adv - adv.mean()) / (adv.std() + 1e-8)
            policy_loss = torch.max(-adv * ratio, -adv * ratio.clamp(0.8, 1.2)).mean()
            value_loss = 0.5 * (critic(o).flatten() - ret).square().mean()
            loss = policy_loss + 0.5 * value_loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 0.5)
            optimizer.step()
    reporter.row(steps)
