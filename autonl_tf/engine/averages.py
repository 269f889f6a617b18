"""Exponential moving averages of variables, evaluated and exported in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from autonl_tf.engine.names import by_name, name_of
from autonl_tf.engine.update_check import local


class MovingAverages(tf.Module):
    """A shadow for every variable, with `d = min(decay, (1 + n) / (10 + n))`:

        shadow <- shadow - (1 - d) * (shadow - variable)

    n is the step AFTER the update (1 at the first, so d starts at 2/11). Shadows start equal to the
    variables. Source: TensorFlow 1's `tf.train.ExponentialMovingAverage`, as the official training used it.

    Create it inside the strategy's scope. Every replica keeps and updates its own shadows from its own
    values, which needs no communication: replicas' trainable variables are equal, so are their shadows;
    batch-norm statistics differ from replica to replica, and the mean over replicas of their shadows is the
    shadow of their mean, because the update is linear. Read across replicas (checkpoint, export) a shadow
    is the first replica's or that mean.

    Args:
      variables: distinctly named model variables (see `batch_norm.averaged_variables`).
      decay: within [0, 1).

    Raises:
      ValueError: two variables of one name.
    """

    def __init__(self, variables: Sequence[tf.Variable], decay: float):
        super().__init__(name="moving_averages")
        self.decay = decay
        self.swapped = False
        self._strategy = tf.distribute.get_strategy()
        self._names = tuple(by_name(variables))
        # A tuple wrapped in a lambda: tf.Module must not track the model's variables through the averages.
        self._variables = lambda variables=tuple(variables): variables
        self.shadows = {name: _make_shadow(variable) for name, variable in zip(self._names, variables, strict=True)}

    @property
    def variables_and_shadows(self) -> list[tuple[tf.Variable, tf.Variable]]:
        return [(v, self.shadows[name]) for name, v in zip(self._names, self._variables(), strict=True)]

    def update(self, step_after) -> None:
        """One update, in replica context; `step_after`: scalar integer tensor, the step after the update."""
        n = tf.cast(step_after, tf.float32)
        rate = 1.0 - tf.minimum(tf.constant(self.decay, tf.float32), (1.0 + n) / (10.0 + n))
        for variable, shadow in self.variables_and_shadows:
            value = tf.cast(variable.read_value(), shadow.dtype)
            shadow.assign_sub((shadow.read_value() - value) * tf.cast(rate, shadow.dtype))

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within the context the variables hold the averages; the plain values come back however it ends.

        Values are exchanged copy by copy on their own devices, so that nothing is lost, not even what differs
        between replicas, and no memory beyond one variable is needed. In a cluster every process must enter.

        Raises:
          RuntimeError: entered twice.
        """
        if self.swapped:
            raise RuntimeError("the moving averages are swapped in already")
        local, exchanged = self._strategy.experimental_local_results, []
        pairs = [both for v, s in self.variables_and_shadows for both in zip(local(v), local(s), strict=True)]
        self.swapped = True
        try:
            for pair in pairs:
                _exchange(*pair)
                exchanged.append(pair)
            yield
        finally:
            for pair in exchanged:
                _exchange(*pair)
            self.swapped = False


def _make_shadow(variable: tf.Variable) -> tf.Variable:
    differs = variable.synchronization == tf.VariableSynchronization.ON_READ
    more = {"aggregation": variable.aggregation} if differs else {}
    return local(variable.read_value(), None, f"average/{name_of(variable)}", **more)


def _exchange(first: tf.Variable, second: tf.Variable) -> None:
    kept = tf.identity(first)
    first.assign(second)
    second.assign(kept)


@contextlib.contextmanager
def restored(strategy: tf.distribute.Strategy, variables: Iterable[tf.Variable]) -> Iterator[None]:
    """What is written to the variables within the context is undone at its end, on every replica alike."""
    copies = [copy for variable in variables for copy in strategy.experimental_local_results(variable)]
    kept = [tf.identity(copy) for copy in copies]
    try:
        yield
    finally:
        for copy, value in zip(copies, kept, strict=True):
            copy.assign(value)
