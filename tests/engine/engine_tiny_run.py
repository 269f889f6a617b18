"""A complete little training run for the engine's tests; also a program.

`python engine_tiny_run.py DIR --pause=SECONDS` trains in DIR, resting after every loop, to be interrupted; with
--pause_saving=SECONDS also before a checkpoint is written by the process whose checkpoints are kept.
`python engine_tiny_run.py DIR --compare` makes the same runs on one and on two devices, below DIR.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # before TensorFlow is imported
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.engine import (
    averages,
    batch_norm,
    evaluate,
    inputs,
    learner,
    loop,
    objectives,
    optimizer,
    recalibrate,
    runlog,
    schedules,
    update_check,
)
from autonl_tf.engine import checkpoints as checkpoints_module
from autonl_tf.engine import strategy as strategies

CLASSES, SIZE, BATCH, EXAMPLES = 4, 6, 8, 40


def data(examples: int = EXAMPLES):
    """images float32 [examples, SIZE, SIZE, 3], labels int32 [examples]: the same at every call."""
    rng = np.random.RandomState(5)
    labels = rng.randint(0, CLASSES, examples).astype("i4")
    images = rng.standard_normal((examples, SIZE, SIZE, 3)).astype("f4") + labels[:, None, None, None]
    return images, labels


def make_model(with_batch_norm: bool = True, classes: int = CLASSES) -> keras.Model:
    keras.utils.set_random_seed(3)
    x = image = keras.Input([SIZE, SIZE, 3], name="image")
    x = keras.layers.Conv2D(5, 3, name="conv")(x)
    if with_batch_norm:
        x = keras.layers.BatchNormalization(momentum=0.9, name="bn")(x)
    x = keras.layers.Activation("swish", name="swish")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(classes, name="logits")(x))


def train_dataset(start_step: int = 0, batch: int = BATCH, bad_steps=(), bad_value=np.nan) -> tf.data.Dataset:
    """Endless batches of a shuffled order that depends on the epoch alone, from `start_step` on. The first image of
    each of `bad_steps` (counted from 1) is `bad_value`."""
    images, labels = data()
    bad_steps = tf.constant(bad_steps, tf.int64)

    def rows(step):
        first = step * batch + tf.range(batch, dtype=tf.int64)
        epoch, place = first // EXAMPLES, first % EXAMPLES
        picked = (place * 7 + epoch * 3) % EXAMPLES
        bad = tf.reduce_any(step + 1 == bad_steps) & (tf.range(batch) == 0)
        chosen = tf.where(
            bad[:, tf.newaxis, tf.newaxis, tf.newaxis], tf.constant(bad_value, images.dtype), tf.gather(images, picked)
        )
        return chosen, tf.gather(labels, picked)

    return tf.data.Dataset.counter(start_step, 1, dtype=tf.int64).map(rows)


def eval_dataset(examples: int = EXAMPLES - 3, batch: int = BATCH) -> tf.data.Dataset:
    """All `examples` images once, the last batch padded with weight 0."""
    images, labels = data(examples)
    pad = -examples % batch
    weights = np.concatenate([np.ones(examples, "f4"), np.zeros(pad, "f4")])
    parts = (np.pad(images, [(0, pad)] + [(0, 0)] * 3), np.pad(labels, (0, pad)), weights)
    return tf.data.Dataset.from_tensor_slices(parts).batch(batch, drop_remainder=True)


def shard_rows(dataset: tf.data.Dataset, shard: int, shards: int) -> tf.data.Dataset:
    """The part of every batch that one of `shards` processes reads."""
    return dataset.rebatch(BATCH // shards, drop_remainder=True).shard(shards, shard)


class Run:
    """Model, learner, train function and evaluation under a strategy."""

    def __init__(
        self,
        strategy=None,
        *,
        with_batch_norm=True,
        jit_compile=False,
        rate=0.05,
        new_optimizer=optimizer.TF1RMSprop,
        **checked,
    ):
        self.strategy = strategy or strategies.make_strategy("cpu")
        with self.strategy.scope():
            self.model = make_model(with_batch_norm)
            self.averages = averages.MovingAverages(batch_norm.averaged_variables(self.model), 0.9)
            schedule = schedules.WarmupStaircase(rate, EXAMPLES / BATCH, EXAMPLES // BATCH, decay_epochs=1.0)
            group = (new_optimizer(schedule), self.model.trainable_variables)
            self.learner = learner.Learner(
                self.model, [group], self.averages, update_check=update_check.UpdateCheck(**checked)
            )
        objective = objectives.classification_objective(
            self.model,
            global_batch_size=BATCH,
            num_micro_batches=self.strategy.num_replicas_in_sync,
            label_smoothing=0.1,
            weight_decay_rate=1e-3,
        )
        self.train = learner.make_train_function(self.strategy, self.learner, objective, jit_compile=jit_compile)
        self.evaluator = evaluate.Evaluator(self.strategy, self.model)

    def batches(self, start_step=0, **bad):
        def pipeline(*shard):
            return shard_rows(train_dataset(start_step, **bad), *shard)

        return iter(inputs.distribute(self.strategy, pipeline))

    def evaluate(self) -> dict[str, float]:
        batches = inputs.distribute(self.strategy, lambda *shard: shard_rows(eval_dataset(), *shard))
        with self.averages.swapped_in():
            return self.evaluator(batches, EXAMPLES - 3)

    def go(self, directory, total_steps=20, *, after_loop=None, **options) -> loop.TrainingResult:
        """The training loop; `after_loop(step)` is called when the device returns to the host."""

        def train(iterator, num_steps):
            metrics = self.train(iterator, num_steps)
            if after_loop is not None:
                after_loop(self.learner.current_step)
            return metrics

        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        log = runlog.RunLog(
            directory,
            total_steps,
            images_per_step=BATCH,
            steps_per_epoch=EXAMPLES / BATCH,
            is_chief=strategies.is_chief(self.strategy),
        )
        settings = {
            "steps_per_loop": 2,
            "evaluate": self.evaluate,
            "evaluate_every": 6,
            "save_every": 4,
            "make_batches": self.batches,
            **options,
        }
        make_batches = settings.pop("make_batches")

        def batches_from(step):
            self.started_at = step
            return make_batches(step)

        return loop.run_training(
            self.strategy,
            self.learner,
            train,
            batches_from,
            total_steps=total_steps,
            log=log,
            checkpoints=checkpoints_module.Checkpoints(directory, self.learner, tell=log.message),
            **settings,
        )

    def everything(self) -> dict[str, np.ndarray]:
        """Every number of the run's state, by name."""
        found = {variable.name: variable.numpy() for variable in self.model.variables}
        found.update({f"average {name}": v.numpy() for name, v in self.averages.shadows.items()})
        slots = self.learner.optimizers[0].variables
        found.update({f"state {name}": np.asarray(v.read_value()) for name, v in self.learner.state.items()})
        found.update({f"slot {index}": np.asarray(v.read_value()) for index, v in enumerate(slots)})
        return found


class Few:
    """`count` batches of a run from `start` on, iterated again and again."""

    def __init__(self, run, start, count):
        self.run, self.start, self.count = run, start, count

    def __iter__(self):
        return itertools.islice(self.run.batches(self.start), self.count)


def moments(run, batches):
    """Mean and variance of what enters the batch norm in all batches together, in float64."""
    kernel, bias = (run.model.get_layer("conv").weights[i].numpy().astype("f8") for i in (0, 1))
    found = []
    for images in itertools.chain(*(run.strategy.experimental_local_results(images) for images, _ in batches)):
        windows = np.lib.stride_tricks.sliding_window_view(images.numpy().astype("f8"), (3, 3), axis=(1, 2))
        outputs = np.einsum("bhwcij,ijco->bhwo", windows, kernel) + bias
        found.append(outputs)
    return np.mean(found, (0, 1, 2, 3)), np.var(found, (0, 1, 2, 3))


def compare_devices(root: Path) -> None:
    """plain1, plain2: without batch norm on one and two devices, and checked1, checked2 with all that checks an update
    and bad images on the first device; norm2: with batch norm on two; moved: as plain1, but from the middle of its
    first loop on two."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    for name, kind, with_batch_norm in (
        ("plain1", "cpu", False),
        ("plain2", "mirrored", False),
        ("norm2", "mirrored", True),
        ("checked1", "cpu", False),
        ("checked2", "mirrored", False),
    ):
        options, checked = {}, {}
        if name.startswith("checked"):
            checked = {"clip_norm": 0.1, "skip": True, "scale_loss": True}
            options = {"max_skipped": 2, "make_batches": lambda start: run.batches(start, bad_steps=[3, 9])}  # noqa: B023
        run = Run(strategies.make_strategy(kind), with_batch_norm=with_batch_norm, **checked)
        run.go(root / name, **options)
        if name == "norm2":
            check_evaluation_changes_nothing(run, root)
            check_average_of_statistics(run)
            check_measured_statistics(run)
        np.savez(root / name / "everything.npz", **run.everything())
        (root / name / "evaluation.json").write_text(json.dumps(run.evaluate()))
    halted = Run(strategies.make_strategy("cpu"), with_batch_norm=False)
    halted.learner.halt()
    halted.train(halted.batches(), 2)
    (root / "moved").mkdir()
    checkpoints_module.Checkpoints(root / "moved", halted.learner).save(1)
    moved = Run(strategies.make_strategy("mirrored"), with_batch_norm=False)
    moved.go(root / "moved")
    np.savez(root / "moved" / "everything.npz", **moved.everything())


def check_evaluation_changes_nothing(run: Run, root: Path) -> None:
    """Another run that is evaluated at other steps than `run` was ends with the same bits."""
    other = Run(run.strategy)
    other.go(root / "other2", evaluate_every=7)
    ends = run.everything(), other.everything()
    for name in ends[0]:
        np.testing.assert_array_equal(ends[0][name], ends[1][name], err_msg=name)


def check_average_of_statistics(run: Run) -> None:
    """After a loop replicas' statistics are alike, and after one step more they differ, and the shadow of their mean
    moves as the mean says."""
    statistics = run.model.get_layer("bn").moving_mean
    shadow = run.averages.shadows["bn/moving_mean"]
    copies = run.strategy.experimental_local_results
    for variable in (statistics, shadow):
        assert len({copy.numpy().tobytes() for copy in copies(variable)}) == 1
    before = shadow.numpy()
    run.train(run.batches(20), 1)
    first, second = (copy.numpy() for copy in copies(statistics))
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(statistics.numpy(), (first + second) / 2, rtol=1e-6)
    decay = min(0.9, (1 + 21) / (10 + 21))
    expected = decay * before + (1 - decay) * (first + second) / 2
    np.testing.assert_allclose(shadow.numpy(), expected, rtol=1e-5)
    plain = [copy.numpy() for variable in run.model.variables for copy in copies(variable)]
    with run.averages.swapped_in():
        np.testing.assert_allclose(statistics.numpy(), expected, rtol=1e-5)
    after = [copy.numpy() for variable in run.model.variables for copy in copies(variable)]
    assert all(np.array_equal(a, b) for a, b in zip(plain, after, strict=True))


def check_measured_statistics(run: Run) -> None:
    """They are those of the batches of both replicas together."""
    batches = list(Few(run, 5, 3))
    with recalibrate.Recalibration(run.strategy, run.model, batches).applied():
        measured = [variable.numpy() for variable in run.model.get_layer("bn").non_trainable_variables]
        for found, expected in zip(measured, moments(run, batches), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def slow_down_saving(seconds: float) -> None:
    write = checkpoints_module.Checkpoints._write

    def slowly(self, *arguments):
        time.sleep(seconds if strategies.is_chief(self._learner.strategy) else 0.0)
        return write(self, *arguments)

    checkpoints_module.Checkpoints._write = slowly


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--pause_saving", type=float, default=0.0)
    parser.add_argument("--compare", action="store_true")
    arguments = parser.parse_args()
    if arguments.compare:
        compare_devices(arguments.directory)
    else:
        slow_down_saving(arguments.pause_saving)
        run = Run(strategies.make_strategy("auto" if "TF_CONFIG" in os.environ else "cpu"))
        run.go(arguments.directory, after_loop=lambda step: time.sleep(arguments.pause))


if __name__ == "__main__":
    main()
