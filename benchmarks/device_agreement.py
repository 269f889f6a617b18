"""Whether training and search take the same steps on any number of devices, and under XLA.

A network and a supernet with LightNL, squeeze-excite, dropout and moving averages make some steps from the same seed
and the same global batches, on 1, 2, 4, ... logical CPU devices (MirroredStrategy), in a process for each number:

    sync      synchronized batch norm
    parts     statistics of each micro-batch's own: N devices with M micro-batches, N * M being the same for all
    xla       as both on one device, the training, search and evaluation steps compiled by XLA

For each it prints how far the losses are from those of the first number of devices (largest relative difference over
steps), the same for weights with the batch-norm statistics and their averages (over the largest value of each), whether
thresholds, margins and distances of gates are bit-equal on the replicas, and whether an evaluation of the first
weights gives the same counts. Ends in one line of JSON.

    python benchmarks/device_agreement.py [--devices=1,2,4,8] [--steps=6] [--modes=train,search] [--xla=train,search]
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from support.tiny_run import ARCH, SPACE

SIZE, CLASSES, BATCH, EXAMPLES = 16, 4, 16, 40
ON_EVERY_REPLICA = ("thresholds", "margins", "distances")


def work(devices: int, micro_batches: int, modes: list[str], steps: int, xla: list[str], output: pathlib.Path) -> None:
    """All cases on `devices` devices; writes `output`/MODE-CASE-DEVICES.npz."""
    import tensorflow as tf

    from autonl_tf.engine.strategy import make_strategy

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    strategy = make_strategy("mirrored" if devices > 1 else "cpu")
    assert strategy.num_replicas_in_sync == devices
    for mode in modes:
        cases = {"sync": (True, 1, False), "parts": (False, micro_batches // devices, False)}
        if mode in xla and devices == 1:
            cases |= {"xla": (True, 1, True), "parts-xla": (False, micro_batches, True)}
        for case, (sync, in_each, compiled) in cases.items():
            values = run(strategy, mode, steps, sync, in_each, compiled)
            np.savez(output / f"{mode}-{case}-{devices}.npz", **values)


def learner_of(mode: str, sync: bool, num_micro_batches: int):
    """(learner, objective, what follows an update) in the strategy's scope."""
    import tensorflow as tf
    import tf_keras as keras

    from autonl_tf.arch import blockstring
    from autonl_tf.engine.averages import MovingAverages
    from autonl_tf.engine.batch_norm import averaged_variables
    from autonl_tf.engine.learner import Learner
    from autonl_tf.engine.objectives import classification_objective
    from autonl_tf.engine.optimizer import TF1RMSprop
    from autonl_tf.networks.gate_table import GateCost
    from autonl_tf.networks.network import build_network
    from autonl_tf.networks.supernet import Supernet
    from autonl_tf.search.objective import optimizer_groups, search_objective, tracker
    from autonl_tf.search.schedule import SearchSchedule
    from autonl_tf.space import space as space_lib
    from autonl_tf.space.cost_model import macs_model

    keras.utils.set_random_seed(3)
    sizes = {"image_size": SIZE, "num_classes": CLASSES}
    recipe = {
        "global_batch_size": BATCH,
        "num_micro_batches": num_micro_batches,
        "label_smoothing": 0.1,
        "weight_decay_rate": 1e-4,
    }
    if mode == "train":
        model = build_network(blockstring.parse(ARCH, "arch"), dropout_rate=0.3, sync_batch_norm=sync, **sizes)
        groups = [(TF1RMSprop(0.01), model.trainable_variables)]
        objective, after = classification_objective(model, **recipe), None
    else:
        model = Supernet(
            space_lib.parse(SPACE, "space"),
            dropout_rate=0.3,
            sync_batch_norm=sync,
            name="net",
            **sizes,
        )
        schedule = SearchSchedule(10, 2, 2, 0.6, 0.3, 3.0)
        groups = optimizer_groups(model, TF1RMSprop(0.01), schedule)
        objective = search_objective(
            model, GateCost(model.table, macs_model(model.table.space, **sizes)), schedule, seed=5, **recipe
        )
        after = tracker(model, schedule)
    # LightNL's gamma starts at zero, which would hide its part.
    for variable in model.trainable_variables:
        if variable.name.endswith("gamma:0"):
            variable.assign(tf.ones_like(variable))
    return Learner(model, groups, MovingAverages(averaged_variables(model), 0.9)), objective, after


def run(strategy, mode: str, steps: int, sync: bool, micro_batches: int, compiled: bool) -> dict[str, np.ndarray]:
    """Losses step by step, every variable and average at the end, copies of gates, and an evaluation."""
    import tensorflow as tf

    from autonl_tf.engine.evaluate import Evaluator
    from autonl_tf.engine.inputs import distribute
    from autonl_tf.engine.learner import make_train_function

    with strategy.scope():
        learner, objective, after = learner_of(mode, sync, strategy.num_replicas_in_sync * micro_batches)
    train = make_train_function(
        strategy, learner, objective, after, seed=7, micro_batches=micro_batches, jit_compile=compiled
    )
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=EXAMPLES).astype(np.int32)
    images = rng.normal(size=[EXAMPLES, SIZE, SIZE, 3]).astype(np.float32) + labels[:, None, None, None] * 0.3
    weights = np.ones([EXAMPLES + 8], np.float32)
    weights[EXAMPLES:] = 0
    padded = [np.concatenate([array, array[:8]]) for array in (images, labels)]
    held_out = tf.data.Dataset.from_tensor_slices((*padded, weights)).batch(BATCH, drop_remainder=True)
    evaluator = Evaluator(strategy, learner.model, jit_compile=compiled)
    scores = evaluator(distribute(strategy, lambda *_: held_out), EXAMPLES)  # of the first weights, the same everywhere
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    batches = iter(distribute(strategy, lambda *_: data.repeat().batch(BATCH, drop_remainder=True)))
    values = {"losses": np.array([train(batches, 1)["loss"][0] for _ in range(steps)])}
    local = strategy.experimental_local_results
    values["evaluation"] = np.array([scores["count"], scores["top1"]])
    values["evaluation_loss"] = np.array(scores["loss"])
    values |= {f"variable {v.name}": v.numpy() for v in learner.model.variables if "measured" not in v.name}
    values |= {f"average {name}": v.numpy() for name, v in learner.averages.shadows.items()}
    if mode == "search":
        copies = {name: np.stack([c.numpy() for c in local(getattr(learner.model, name))]) for name in ON_EVERY_REPLICA}
        values["replicas_equal"] = np.array(all((c == c[0]).all() for c in copies.values()))
        values["gates_moved"] = np.array(copies["thresholds"].max() > 0 and copies["distances"].min() < 1)
    return values


def compare(first: dict, second: dict) -> dict[str, float]:
    """How far two runs are apart; `evaluation_equal` of the counts, before training."""
    losses = np.abs(second["losses"] - first["losses"]) / np.abs(first["losses"])
    apart = max(
        float(np.abs(first[name] - second[name]).max() / max(np.abs(first[name]).max(), 1e-3))
        for name in first
        if name.startswith(("variable", "average"))
    )
    found = {
        "losses": float(losses.max()),
        "state": apart,
        "evaluation_equal": bool((first["evaluation"] == second["evaluation"]).all()),
        "evaluation_loss": float(abs(second["evaluation_loss"] / first["evaluation_loss"] - 1)),
    }
    if "replicas_equal" in second:
        found |= {name: bool(second[name]) for name in ("replicas_equal", "gates_moved")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", default="1,2,4,8")
    parser.add_argument("--modes", default="train,search")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--xla", default="", help="modes to compile too")
    parser.add_argument("--work", nargs=2, metavar=("DEVICES", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    counts, modes = [int(count) for count in options.devices.split(",")], options.modes.split(",")
    if options.work:
        work(
            int(options.work[0]),
            max(counts),
            modes,
            options.steps,
            options.xla.split(","),
            pathlib.Path(options.work[1]),
        )
        return
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            command = [sys.executable, __file__, *sys.argv[1:], "--work", str(count), folder]
            subprocess.run(command, env=environment, check=True)
        for mode in modes:
            for case in ("sync", "parts"):
                runs = [dict(np.load(f"{folder}/{mode}-{case}-{count}.npz")) for count in counts]
                for count, values in zip(counts[1:], runs[1:], strict=True):
                    results[f"{mode} {case} {counts[0]} and {count}"] = compare(runs[0], values)
            sync, parts = (dict(np.load(f"{folder}/{mode}-{case}-{counts[0]}.npz")) for case in ("sync", "parts"))
            results[f"{mode} sync and parts"] = compare(sync, parts)
            if mode in options.xla.split(",") and counts[0] == 1:
                compiled = dict(np.load(f"{folder}/{mode}-xla-1.npz"))
                results[f"{mode} xla"] = compare(sync, compiled)
                compiled = dict(np.load(f"{folder}/{mode}-parts-xla-1.npz"))
                results[f"{mode} parts xla"] = compare(parts, compiled)
    for name, found in results.items():
        print(
            f"{name:<26}",
            ", ".join(
                f"{key} {value:.1e}" if key in ("losses", "state", "evaluation_loss") else f"{key} {value}"
                for key, value in found.items()
            ),
        )
    print(json.dumps({"devices": counts, "steps": options.steps, "results": results}))


if __name__ == "__main__":
    main()
