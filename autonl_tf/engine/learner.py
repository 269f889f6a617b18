"""What is trained (`Learner`) and one train function for search and training alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.names import by_name, name_of

Metrics = dict[str, tuple[float, float]]


class Learner(tf.Module):
    """A model with everything its training changes. Create it inside the strategy's scope, the model built.

    Args:
      model: its `variables` are checkpointed by name.
      groups: pairs (optimizer, variables): which optimizer moves which variables; together they hold every
        trainable variable of the model, each once. Optimizers count their own steps, equal to `step`, and
        read their learning-rate schedules by that.
      averages: moving averages to update at every step, or None.
      state: further variables that belong to the run (a search's multiplier), by name; checkpointed.

    Raises:
      ValueError: a trainable variable in no group or in two, or two variables of one name.
    """

    def __init__(
        self,
        model,
        groups: Sequence[tuple],
        averages: MovingAverages | None = None,
        state: Mapping[str, tf.Variable] | None = None,
    ):
        super().__init__(name="learner")
        self.model = model
        self.optimizers = [optimizer for optimizer, _ in groups]
        self.grouped = [list(variables) for _, variables in groups]
        self.averages = averages
        self.state = dict(state or {})
        self.strategy = tf.distribute.get_strategy()
        # Every replica counts for itself, as with the averages: no communication.
        self.step = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            name="step",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        by_name(model.variables)
        self._check_groups()
        for optimizer, variables in zip(self.optimizers, self.grouped, strict=True):
            optimizer.build(variables)

    def _check_groups(self) -> None:
        counts: dict[int, int] = {}
        for variable in self.moved_variables:
            counts[id(variable)] = counts.get(id(variable), 0) + 1
        repeated = sorted({name_of(v) for v in self.moved_variables if counts[id(v)] > 1})
        missing = sorted(name_of(v) for v in self.model.trainable_variables if id(v) not in counts)
        if repeated or missing:
            raise ValueError(f"trainable variables without an optimizer: {missing}; with several: {repeated}")

    @property
    def moved_variables(self) -> list[tf.Variable]:
        """Every variable an optimizer moves, group by group."""
        return [variable for variables in self.grouped for variable in variables]

    @property
    def current_step(self) -> int:
        """How many updates have been made."""
        return int(self.strategy.experimental_local_results(self.step)[0].numpy())

    def names_not_finite(self) -> list[str]:
        """The names of model variables, averages and state that hold an inf or a NaN in this process."""
        named = {**by_name(self.model.variables), **{f"state {name}": v for name, v in self.state.items()}}
        if self.averages is not None:
            named.update({f"average of {name}": shadow for name, shadow in self.averages.shadows.items()})
        local = self.strategy.experimental_local_results
        bad = {
            name: [tf.reduce_any(~tf.math.is_finite(copy)) for copy in local(variable)]
            for name, variable in named.items()
            if variable.dtype.is_floating
        }
        return [name for name, flags in bad.items() if any(bool(flag) for flag in flags)]


def update_variable(variable: tf.Variable, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
    """`variable <- function(variable)` in replica context, each replica's copy from its own value.

    A mirrored variable may not simply be assigned there; `function` must not depend on the replica.
    """

    def apply(strategy):
        strategy.extended.update(variable, lambda copy: copy.assign(function(copy.read_value())), group=False)

    tf.distribute.get_replica_context().merge_call(apply)


class TrainFunction:
    """`(iterator, num_steps) -> metrics`; built by `make_train_function`."""

    def __init__(self, strategy, learner: Learner, replica_step: Callable, names: list[str]):
        self._strategy = strategy
        self._learner = learner
        self._replica_step = replica_step
        self._names = names  # filled in while `replica_step` is traced
        self._one_step = tf.function(self._step)
        self._steps = tf.function(self._loop)
        self._length: int | None = None

    def _step(self, iterator):
        per_replica = self._strategy.run(self._replica_step, args=next(iterator))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)

    def _loop(self, iterator, first_step, num_steps):
        total = tf.zeros([self._length])
        bad_step = tf.constant(-1, tf.int64)
        for index in tf.range(num_steps):
            values = self._one_step(iterator)
            total += values
            if bad_step < 0 and not tf.math.is_finite(values[0]):
                bad_step = first_step + index
        return total, bad_step

    def __call__(self, iterator, num_steps: int) -> Metrics:
        """Runs `num_steps` steps on the device; returns name -> (sum, weight) over replicas and steps.

        `loss` weighs one a step. If a loss was not finite, `non_finite_step` is there too: (step, 1), the
        number from 1 of the first such step of this call.
        """
        if self._length is None:
            self._length = int(self._one_step.get_concrete_function(iterator).output_shapes[0])
        first = self._learner.current_step + 1
        total, bad_step = self._steps(iterator, tf.constant(first, tf.int64), tf.constant(num_steps, tf.int64))
        total = total.numpy()
        count = len(self._names)
        metrics = {"loss": (float(total[0]), float(num_steps))}
        for index, name in enumerate(self._names):
            metrics[name] = (float(total[1 + index]), float(total[1 + count + index]))
        if int(bad_step) >= 0:
            metrics["non_finite_step"] = (float(bad_step), 1.0)
        return metrics


def make_train_function(
    strategy: tf.distribute.Strategy,
    learner: Learner,
    objective: Callable,
    after_update: Callable | None = None,
    *,
    jit_compile: bool = False,
) -> TrainFunction:
    """The train function: many steps on the device for one call from the host.

    Args:
      objective: `(images, labels, step) -> (loss, {name: (sum, weight)})` in replica context. The SUM of the
        loss over replicas is what is minimized; `step` is the number of updates made so far.
      after_update: called with the step after the update, in replica context, behind the optimizers and
        before the moving averages (see `update_variable`).
      jit_compile: compiles a replica's step with XLA; one device (or TPU, where it is so anyway).

    Metrics of the objective are joined by `loss` and the `learning_rate` of each group (`learning_rate_1`,
    ...).

    Raises:
      ValueError: while tracing, when the loss does not depend on a variable some optimizer moves.
    """
    variables = learner.moved_variables
    names: list[str] = []

    def replica_step(images, labels):
        step = learner.step.read_value()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss, metrics = objective(images, labels, step)
        gradients = tape.gradient(loss, variables)
        unmoved = [name_of(v) for v, g in zip(variables, gradients, strict=True) if g is None]
        if unmoved:
            raise ValueError(f"the objective does not depend on these trainable variables: {unmoved}")
        metrics = {**metrics, **_apply(learner, gradients)}
        after = learner.step.assign_add(1, read_value=True)
        if after_update is not None:
            after_update(after)
        if learner.averages is not None:
            learner.averages.update(after)
        names[:] = list(metrics)
        sums = [tf.cast(total, tf.float32) for total, _ in metrics.values()]
        weights = [tf.cast(weight, tf.float32) for _, weight in metrics.values()]
        return tf.stack([tf.cast(loss, tf.float32), *sums, *weights])  # [1 + 2 * metrics]

    step_function = tf.function(replica_step, jit_compile=True) if jit_compile else replica_step
    return TrainFunction(strategy, learner, step_function, names)


def _apply(learner: Learner, gradients) -> Metrics:
    rates, start = {}, 0
    for index, (optimizer, variables) in enumerate(zip(learner.optimizers, learner.grouped, strict=True)):
        mine = gradients[start : start + len(variables)]
        start += len(variables)
        optimizer.apply_gradients(zip(mine, variables, strict=True))
        rates[f"learning_rate_{index}" if index else "learning_rate"] = (optimizer.learning_rate, 1.0)
    return rates
