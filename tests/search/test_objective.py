"""What the weight decay of training and of the search is taken over."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from golden_data import TINY
from one_block import SPACE

from autonl_tf.arch import blockstring
from autonl_tf.engine.objectives import classification_objective
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.network import build_network
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search.objective import optimizer_groups, search_objective
from autonl_tf.search.schedule import SearchSchedule
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

RECIPE = {"global_batch_size": 2, "num_micro_batches": 1, "label_smoothing": 0.1, "weight_decay_rate": 0.5}


def searched():
    supernet = Supernet(space_lib.parse(SPACE, "test"), image_size=16, num_classes=3, start_margin=1.0, name="supernet")
    supernet.thresholds.assign(tf.fill(supernet.thresholds.shape, 0.2))
    schedule = SearchSchedule(10, 2, 2, 0.6, 0.3, 3.0)
    cost = GateCost(supernet.table, macs_model(supernet.table.space, image_size=16, num_classes=3))
    optimizer_groups(supernet, TF1RMSprop(0.01), schedule)
    return supernet, search_objective(supernet, cost, schedule, seed=0, **RECIPE), 16, 3


def trained():
    model = build_network(blockstring.parse(TINY), image_size=64, num_classes=10)
    return model, classification_objective(model, **RECIPE), 64, 10


@pytest.mark.parametrize("make", [trained, searched])
def test_weight_decay_takes_kernels_and_biases_but_no_batch_norm_and_no_threshold(make):
    keras.utils.set_random_seed(1)
    model, objective, size, classes = make()
    for variable in model.trainable_variables:
        if "bias" in variable.name:  # zero at the start: they would not be missed
            variable.assign(tf.random.stateless_normal(variable.shape, [1, 2]))
    spared = ("gamma", "beta", "thresholds")
    names = [variable.name.split("/")[-1].split(":")[0] for variable in model.trainable_variables]
    assert {"kernel", "bias", "depthwise_kernel", "gamma", "beta"} <= set(names)
    squares = [
        np.square(variable.numpy().astype("f8")).sum()
        for variable, name in zip(model.trainable_variables, names, strict=True)
        if not name.startswith(spared)
    ]
    images, labels = tf.random.stateless_normal([2, size, size, 3], [3, 4]), tf.constant([0, classes - 1])
    _, metrics = objective(images, labels, tf.constant(5, tf.int64))
    assert float(metrics["weight_decay"][0]) == pytest.approx(0.5 * sum(squares) / 2, rel=1e-5)
