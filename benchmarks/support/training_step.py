"""The steps of `--mode=train` and `--mode=search`, alone, as their modes make them, on one batch again and again."""

from __future__ import annotations

import pathlib
import re
import resource

import numpy as np
import tensorflow as tf

from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.batch_norm import averaged_variables
from autonl_tf.engine.learner import Learner, TrainFunction, make_train_function
from autonl_tf.engine.objectives import classification_objective
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.network import build_network
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search.objective import optimizer_groups, search_objective, tracker
from autonl_tf.search.schedule import SearchSchedule
from autonl_tf.space.cost_model import macs_model
from autonl_tf.space.space import Space


def recipe(batch: int) -> dict:
    """The loss's settings by the published recipe."""
    return {"global_batch_size": batch, "num_micro_batches": 1, "label_smoothing": 0.1, "weight_decay_rate": 1e-5}


def train_function(spec: NetworkSpec, *, image_size: int, batch: int, classes: int) -> TrainFunction:
    model = build_network(spec, dropout_rate=0.2, image_size=image_size, num_classes=classes)
    averages = MovingAverages(averaged_variables(model), 0.9999)
    learner = Learner(model, [(TF1RMSprop(0.016), model.trainable_variables)], averages)
    objective = classification_objective(model, **recipe(batch))
    return make_train_function(tf.distribute.get_strategy(), learner, objective)


def search_function(space: Space, *, image_size: int, batch: int, classes: int) -> TrainFunction:
    """In the decision phase throughout."""
    shape = {"image_size": image_size, "num_classes": classes}
    supernet = Supernet(space, dropout_rate=0.2, name="supernet", **shape)
    schedule = SearchSchedule(10**6, 0, 0, 0.6, 0.3, 3.0)
    learner = Learner(supernet, optimizer_groups(supernet, TF1RMSprop(0.016), schedule))
    cost = GateCost(supernet.table, macs_model(space, **shape))
    objective = search_objective(supernet, cost, schedule, seed=0, **recipe(batch))
    return make_train_function(tf.distribute.get_strategy(), learner, objective, tracker(supernet, schedule))


def batches(image_size: int, batch: int, classes: int):
    """An iterator over one made-up batch, repeated."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=[batch, image_size, image_size, 3]).astype(np.float32)
    labels = rng.integers(classes, size=batch).astype(np.int32)
    return iter(tf.data.Dataset.from_tensors((images, labels)).repeat())


def resident() -> int:
    """Resident bytes of this process now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize()


def peak() -> int:
    """The most resident bytes this process has had; `ru_maxrss` would count those of the process that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) * 1024
