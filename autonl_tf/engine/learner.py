"""What is trained (`Learner`) and one train function for search and training alike."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import tensorflow as tf

from autonl_tf import signals
from autonl_tf.engine.averages import MovingAverages, restored
from autonl_tf.engine.gradient import replica_gradient
from autonl_tf.engine.names import by_name, name_of
from autonl_tf.engine.update_check import CheckedUpdate, UpdateCheck, local

Metrics = dict[str, tuple[float, float]]

# What a train function reports beside its metrics, in the order of its replicas' results.
TROUBLES = ("non_finite_loss", "non_finite_gradient")


class Learner(tf.Module):
    """A model with everything its training changes. Create it inside the strategy's scope, the model built.

    Args:
      model: its `variables` are checkpointed by name.
      groups: pairs (optimizer, variables): which optimizer moves which variables; together they hold every
        trainable variable of the model, each once. Optimizers count their own steps, equal to `step`, and
        read their learning-rate schedules by that.
      state: further variables that belong to the run (a search's multiplier), by name; checkpointed.
      update_check: clips, scales the loss, skips updates; None: none of it.

    Raises:
      ValueError: a trainable variable in no group or in two, or two variables of one name.
    """

    def __init__(
        self,
        model,
        groups: Sequence[tuple],
        averages: MovingAverages | None = None,
        state: Mapping[str, tf.Variable] | None = None,
        update_check: UpdateCheck | None = None,
    ):
        super().__init__(name="learner")
        self.model = model
        self.optimizers = [optimizer for optimizer, _ in groups]
        self.grouped = [list(variables) for _, variables in groups]
        self.averages = averages
        self.update_check = update_check or UpdateCheck()
        self.state = {**(state or {}), **self.update_check.state}
        self.strategy = tf.distribute.get_strategy()
        self.step = local(0, tf.int64, "step")
        # Whether a call of the train function is to end early, and the sums over the steps that it then has made.
        self._halted = tf.Variable(False, trainable=False, name="halted")
        self.carried = tf.Variable(tf.zeros([0]), trainable=False, shape=[None], name="carried")
        by_name(model.variables)
        self._check_groups()
        for optimizer, variables in zip(self.optimizers, self.grouped, strict=True):
            optimizer.build(variables)

    def _check_groups(self) -> None:
        counts = Counter(map(id, self.moved_variables))
        repeated = sorted({name_of(v) for v in self.moved_variables if counts[id(v)] > 1})
        missing = sorted(name_of(v) for v in self.model.trainable_variables if id(v) not in counts)
        if repeated or missing:
            raise ValueError(f"trainable variables without an optimizer: {missing}; with several: {repeated}")

    @property
    def moved_variables(self) -> list[tf.Variable]:
        """Every variable an optimizer moves, group by group."""
        return [variable for variables in self.grouped for variable in variables]

    @property
    def clipped(self) -> list[bool]:
        """Whether the gradient of each of `moved_variables` is clipped with the others: where its optimizer's steps
        depend on the gradient's scale (`scale_free`)."""
        pairs = zip(self.optimizers, self.grouped, strict=True)
        return [not getattr(optimizer, "scale_free", False) for optimizer, variables in pairs for _ in variables]

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """One update of every group, in replica context; `gradients` of `moved_variables`, summed over replicas."""
        rest = iter(gradients)
        for optimizer, variables in zip(self.optimizers, self.grouped, strict=True):
            pairs = [(next(rest), variable) for variable in variables]
            optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)

    def pass_over(self) -> None:
        """In the place of an update: optimizers' counts, and so their learning rates, keep up with the step."""
        for optimizer in self.optimizers:
            optimizer.iterations.assign_add(1)

    @property
    def current_step(self) -> int:
        return self._first(self.step)

    @property
    def skipped_updates(self) -> int:
        """How many updates were left out for values that were not finite."""
        return self._first(self.update_check.skipped)

    def halt(self, now: bool = True) -> None:
        """Ends the train function's call after the step under way, or lets it go on; may be called in any thread.

        Several replicas go on to its end: they can only stop alike, and where `merge_replicas` is due anyway.
        """
        if self.strategy.num_replicas_in_sync == 1:
            self._halted.assign(now)

    def goes_on(self) -> tf.Tensor | bool:
        """Whether nothing has halted it, in the loop of steps."""
        return ~self._halted.read_value() if self.strategy.num_replicas_in_sync == 1 else True

    def _first(self, variable: tf.Variable) -> int:
        return int(self.strategy.experimental_local_results(variable)[0].numpy())

    def merge_replicas(self) -> None:
        """Gives every replica the mean of what replicas keep for themselves: batch-norm statistics, their averages.

        A checkpoint holds that mean. Done where a run may be saved, it makes a resumed run go on with what an
        uninterrupted one has. Every process of a cluster calls it.
        """
        if self.strategy.num_replicas_in_sync > 1:
            with signals.stretch():
                self._take_means()

    @contextlib.contextmanager
    def merged(self) -> Iterator[None]:
        """Within the context every replica has that mean, to be evaluated; what it had comes back."""
        with restored(self.strategy, self._kept_apart() if self.strategy.num_replicas_in_sync > 1 else ()):
            self.merge_replicas()
            yield

    @tf.function(autograph=False)
    def _take_means(self):
        for variable in self._kept_apart():
            variable.assign(variable.read_value())

    def _kept_apart(self) -> list[tf.Variable]:
        averages = self.averages.shadows.values() if self.averages is not None else ()
        return [
            variable
            for variable in (*self.model.variables, *averages)
            if variable.synchronization == tf.VariableSynchronization.ON_READ
            and variable.aggregation == tf.VariableAggregation.MEAN
        ]

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


class TrainFunction:
    """`(iterator, num_steps) -> metrics`; built by `make_train_function`."""

    def __init__(self, strategy, learner: Learner, replica_step: Callable, names: list[str]):
        self._strategy = strategy
        self._learner = learner
        self._replica_step = replica_step
        self._names = names  # filled in while `replica_step` is traced
        self._one_step = tf.function(self._step, autograph=False)
        self._steps = tf.function(self._loop, autograph=False)
        self._length: int | None = None

    def _step(self, iterator):
        per_replica = self._strategy.run(self._replica_step, args=next(iterator))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)

    def _loop(self, iterator, first_step, num_steps, carried):
        def step(index, total, first_bad):
            values = self._one_step(iterator)
            bad = values[: len(TROUBLES)] > 0
            first_bad = tf.where((first_bad < 0) & bad, first_step + index, first_bad)
            return index + 1, total + values, first_bad

        def more(index, *_):
            return (index < num_steps) & ((index == 0) | self._learner.goes_on())

        start = (tf.constant(0, tf.int64), carried, tf.fill([len(TROUBLES)], tf.constant(-1, tf.int64)))
        return tf.while_loop(more, step, start, parallel_iterations=1)[1:]

    def __call__(self, iterator, num_steps: int) -> Metrics:
        """Runs `num_steps` steps on the device; returns name -> (sum, weight) over replicas and steps.

        It makes fewer where the learner is halted. The next call, of this process or of one that goes on from a
        checkpoint, then gives the sums over its own steps and these.

        `loss` weighs one for every step whose loss counts. Where a loss, or a finite one's gradient, was not finite,
        `non_finite_loss` or `non_finite_gradient` is there too: (the number from 1 of the first such step of this
        call, how many there were).
        """
        if self._length is None:
            self._length = int(self._one_step.get_concrete_function(iterator).output_shapes[0])
        learner = self._learner
        first, carried = learner.current_step + 1, learner.carried.numpy()
        total, first_bad = self._steps(
            iterator,
            tf.constant(first, tf.int64),
            tf.constant(num_steps, tf.int64),
            tf.constant(carried) if len(carried) == self._length else tf.zeros([self._length]),
        )
        halted = learner.current_step < first - 1 + num_steps
        if halted or len(carried):
            learner.carried.assign(total if halted else tf.zeros([0]))
        replicas = self._strategy.num_replicas_in_sync
        bad_steps, totals = total.numpy()[: len(TROUBLES)] / replicas, total.numpy()[len(TROUBLES) :]
        count = len(self._names)
        metrics = {name: (float(totals[index]), float(totals[count + index])) for index, name in enumerate(self._names)}
        for name, step, steps in zip(TROUBLES, first_bad.numpy(), bad_steps, strict=True):
            if step >= 0:
                metrics[name] = (float(step), float(steps))
        return metrics


def make_train_function(
    strategy: tf.distribute.Strategy,
    learner: Learner,
    objective: Callable,
    after_update: Callable | None = None,
    *,
    seed: int = 0,
    micro_batches: int = 1,
    jit_compile: bool = False,
) -> TrainFunction:
    """The train function: many steps on the device for one call from the host.

    Args:
      objective: `(images, labels, step) -> (loss, {name: (sum, weight)})` in replica context. The SUM of the
        loss over replicas and micro-batches is what is minimized; `step` is the number of updates made so far.
      after_update: called with the same `step` as the objective, in replica context, behind the optimizers and
        before the moving averages.
      micro_batches: M, into how many a replica's batch is cut, one after the other (see `replica_gradient`).
      jit_compile: compiles the step with XLA; for one replica (a TPU does so anyway).

    Metrics of the objective are joined by `loss`, the `learning_rate` of each group (`learning_rate_1`, ...), the
    `gradient_norm` before clipping and, where the loss is scaled, `loss_scale`. Where updates may be skipped, values
    that are not finite do not count.

    Raises:
      ValueError: while tracing, when the loss does not depend on a variable some optimizer moves.
    """
    update_check = learner.update_check
    scaled = update_check.scaled
    gradient = replica_gradient(learner, objective, micro_batches=micro_batches, seed=seed, scaled=scaled)
    names: list[str] = []

    def replica_step(images, labels):
        step = learner.step.read_value()
        kept = update_check.keep(learner.model)
        loss, metrics, gradients = gradient(images, labels, step)
        update = update_check.update(loss, gradients, learner.apply, learner.pass_over, kept, learner.clipped)
        after = learner.step.assign_add(1, read_value=True)
        if after_update is not None:
            after_update(step)
        if learner.averages is not None:
            learner.averages.update(after)
        # A step weighs one on any number of replicas: sums may be carried on to another.
        share = 1 / strategy.num_replicas_in_sync
        metrics = {"loss": (loss, share), **metrics}
        for index, optimizer in enumerate(learner.optimizers):
            name = f"learning_rate_{index}" if index else "learning_rate"
            metrics[name] = (optimizer.learning_rate * share, share)
        metrics["gradient_norm"] = (update.norm * share, share)
        if update_check.may_skip:
            metrics = _counted(metrics, update)
        if update_check.scale_loss:
            metrics["loss_scale"] = (update_check.scale.read_value() * share, share)
        names[:] = list(metrics)
        sums, weights = zip(*metrics.values(), strict=True)
        values = [update.bad_loss, update.bad_gradient, *sums, *weights]
        return tf.stack([tf.cast(value, tf.float32) for value in values])  # [troubles + 2 * metrics]

    step_function = tf.function(replica_step, jit_compile=True, autograph=False) if jit_compile else replica_step
    return TrainFunction(strategy, learner, step_function, names)


def _counted(metrics: Metrics, update: CheckedUpdate) -> Metrics:
    """`metrics` without those that are not finite on some replica: a step that was skipped would spoil the loop's
    means, and a part of its replicas is no mean of the batch."""
    bad = tf.stack([~tf.math.is_finite(tf.cast(total, tf.float32)) for total, _ in metrics.values()])
    context = tf.distribute.get_replica_context()
    bad = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(bad, tf.float32)) > 0
    whole = {"loss": ~update.bad_loss} | {
        name: ~flag for name, flag in zip(metrics, tf.unstack(bad), strict=True) if name != "loss"
    }
    return {
        name: tuple(tf.where(whole[name], tf.cast(part, tf.float32), 0.0) for part in pair)
        for name, pair in metrics.items()
    }
