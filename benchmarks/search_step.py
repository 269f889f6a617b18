"""What a search step costs beside a training step of the space's largest member: same batch, size and machine.

Interleaves loops of both in one process and prints medians; ends in one line of JSON with `time_ratio`.

    python benchmarks/search_step.py [--space=demo] [--size=64] [--batch=64] [--rounds=7] [--steps=5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import tensorflow as tf

from autonl_tf.arch import space as space_lib
from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.batch_norm import averaged_variables
from autonl_tf.engine.learner import Learner, make_train_function
from autonl_tf.engine.objectives import classification_objective
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.network import build_network
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search.objective import optimizer_groups, search_objective
from autonl_tf.search.schedule import SearchSchedule

CLASSES = 8


def learner_of(model, groups) -> Learner:
    return Learner(model, groups, MovingAverages(averaged_variables(model), 0.9999))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="demo")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    space, strategy = space_lib.load(options.space), tf.distribute.get_strategy()
    recipe = {
        "global_batch_size": options.batch,
        "num_parts": 1,
        "label_smoothing": 0.1,
        "weight_decay_rate": 1e-5,
    }
    model = build_network(space.largest(), image_size=options.size, num_classes=CLASSES)
    training = learner_of(model, [(TF1RMSprop(0.016), model.trainable_variables)])
    supernet = Supernet(space, image_size=options.size, num_classes=CLASSES, name="supernet")
    schedule = SearchSchedule(10**6, 0, 0, 0.6, 0.1, 0.3, 3.0)
    searching = learner_of(supernet, optimizer_groups(supernet, TF1RMSprop(0.016), schedule))
    cost = GateCost(supernet.table, image_size=options.size, num_classes=CLASSES)
    functions = {
        "train": make_train_function(strategy, training, classification_objective(model, **recipe)),
        "search": make_train_function(
            strategy,
            searching,
            search_objective(supernet, cost, schedule, seed=0, **recipe),
            lambda step: supernet.track(schedule.settled(step)),
        ),
    }
    rng = np.random.default_rng(0)
    images = rng.normal(size=[options.batch, options.size, options.size, 3]).astype(np.float32)
    labels = rng.integers(CLASSES, size=options.batch).astype(np.int32)
    iterator = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for round_number in range(options.rounds + 1):
        for name, function in functions.items():
            began = time.perf_counter()
            function(iterator, options.steps)
            if round_number:  # the first traces
                seconds[name].append((time.perf_counter() - began) / options.steps)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, times in seconds.items():
        print(f"{name:<8} {medians[name]:.4f} s a step (from {min(times):.4f} to {max(times):.4f})")
    print(
        json.dumps(
            {
                **vars(options),
                "tensorflow": tf.__version__,
                "train_seconds": medians["train"],
                "search_seconds": medians["search"],
                "time_ratio": medians["search"] / medians["train"],
            }
        )
    )


if __name__ == "__main__":
    main()
