"""Proximal policy optimization in plain NumPy (Schulman et al., 2017, arXiv:1707.06347)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from robot_sf_otel.demo.networks import Adam, Array, Perceptron

if TYPE_CHECKING:
    from robot_sf_otel.demo.policies import GaussianPolicy
    from robot_sf_otel.demo.rollouts import Episode

# The values of the paper and of common implementations; what depends on the task is an argument.
CLIP: Final = 0.2
TRACE_DECAY: Final = 0.95
EPOCHS: Final = 10
MINIBATCH: Final = 256
LARGEST_NORM: Final = 0.5


class PPO:
    """Improves a Gaussian policy in place, with a value function of its own.

    Attributes:
        policy: The policy that learns.
    """

    def __init__(
        self,
        policy: GaussianPolicy,
        rng: np.random.Generator,
        *,
        discount: float,
        reward_scale: float,
    ) -> None:
        """Start with a fresh value function; `rng` draws its weights and the minibatches."""
        self.policy = policy
        sizes = (*policy.network.sizes[:-1], 1)
        self._value = Perceptron.initial(sizes, rng, output_gain=1.0)
        self._rng = rng
        self._discount = discount
        self._reward_scale = reward_scale
        self._policy_optimizer = Adam(policy.parameters, largest_norm=LARGEST_NORM)
        self._value_optimizer = Adam(self._value.parameters, largest_norm=LARGEST_NORM)

    def update(
        self, episodes: Sequence[Episode], *, learning_rate: float, value_only: bool = False
    ) -> None:
        """Learn from episodes that the current policy has played.

        Args:
            episodes: At least one.
            learning_rate: Of Adam, for policy and value function.
            value_only: Leave the policy as it is, so that a fresh value function does not spoil
                one that is good already.
        """
        advantages, targets = self._advantages(episodes)
        observations = np.concatenate([episode.observations[:-1] for episode in episodes])
        actions = np.concatenate([episode.actions for episode in episodes])
        before = self.policy.log_probability(self.policy.network(observations), actions)
        for _ in range(EPOCHS):
            order = self._rng.permutation(len(observations))
            for start in range(0, len(order), MINIBATCH):
                batch = order[start : start + MINIBATCH]
                self._improve_value(observations[batch], targets[batch], learning_rate)
                if not value_only:
                    gradient = surrogate_gradient(
                        self.policy,
                        observations[batch],
                        actions[batch],
                        advantages[batch],
                        before[batch],
                    )
                    self._policy_optimizer.descend(gradient, learning_rate)

    def _advantages(self, episodes: Sequence[Episode]) -> tuple[Array, Array]:
        """Return standardised advantages and the targets of the value function, of all steps."""
        advantages: list[Array] = []
        targets: list[Array] = []
        for episode in episodes:
            values = self._value(episode.observations)[:, 0]
            if episode.terminated:
                values[-1] = 0.0  # nothing follows; after the time limit it would have gone on
            rewards = self._reward_scale * episode.rewards
            advantages.append(generalized_advantages(rewards, values, self._discount, TRACE_DECAY))
            targets.append(advantages[-1] + values[:-1])
        joined = np.concatenate(advantages)
        return (joined - joined.mean()) / (joined.std() + 1e-8), np.concatenate(targets)

    def _improve_value(self, observations: Array, targets: Array, learning_rate: float) -> None:
        activations = self._value.activations(observations)
        errors = activations[-1] - targets[:, np.newaxis]
        gradient = self._value.gradient(activations, 2.0 * errors / len(targets))
        self._value_optimizer.descend(gradient, learning_rate)


def generalized_advantages(rewards: Array, values: Array, discount: float, decay: float) -> Array:
    """Return the generalized advantage estimates of one episode (arXiv:1506.02438, equation 16).

    Args:
        rewards: Shape `(T,)`.
        values: Estimated value of every state, the last one included, shape `(T + 1,)`.
        discount: Weight of the next step's reward.
        decay: Weight of longer looks ahead; 0 trusts the values, 1 the rewards.
    """
    errors = rewards + discount * values[1:] - values[:-1]
    advantage = 0.0
    advantages: list[float] = []
    # Python floats: faster than indexing an array, one element at a time.
    for error in reversed(errors.tolist()):
        advantage = error + discount * decay * advantage
        advantages.append(advantage)
    return np.array(advantages[::-1])


def surrogate_gradient(
    policy: GaussianPolicy, observations: Array, actions: Array, advantages: Array, before: Array
) -> Array:
    """Return the gradient of the clipped surrogate loss with respect to `policy.parameters`.

    The loss is -mean(min(r A, clip(r, 1 - CLIP, 1 + CLIP) A)) with the ratio r of the probability
    of an action now to the one before (arXiv:1707.06347, equation 7).

    Args:
        policy: The policy now.
        observations: Shape `(batch, observation_size)`.
        actions: Shape `(batch, action_size)`.
        advantages: A, shape `(batch,)`.
        before: Log-probabilities of the actions when they were taken, shape `(batch,)`.
    """
    activations = policy.network.activations(observations)
    means = activations[-1]
    ratios = np.exp(policy.log_probability(means, actions) - before)
    inside = np.where(advantages > 0.0, ratios < 1.0 + CLIP, ratios > 1.0 - CLIP)
    # d(loss)/d(log p), one column; d(r)/d(log p) is r.
    weights = (-(inside * ratios * advantages) / len(advantages))[:, np.newaxis]
    inverse = np.exp(-policy.log_deviation)
    standard = (actions - means) * inverse
    return np.concatenate(
        (
            policy.network.gradient(activations, weights * standard * inverse),
            np.sum(weights * (standard**2 - 1.0), axis=0),
        )
    )
