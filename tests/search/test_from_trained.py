"""A search that starts at a network opens LightNL's gates, which that network has closed, where LightNL helps alone."""

import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch import presets
from autonl_tf.commands.search.flags import DEFAULTS as BY_START
from autonl_tf.commands.search.flags import FLAGS
from autonl_tf.engine.batch_norm import set_momentum
from autonl_tf.engine.learner import Learner, make_train_function
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.inherit import take_over
from autonl_tf.networks.network import build_network
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search.objective import optimizer_groups, search_objective, tracker
from autonl_tf.search.schedule import SearchSchedule
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

SIZE, CLASSES, BATCH, STEPS = 24, 2, 32, 240
ARCH = "r1_k3_s11_e2_i32_o16\nr1_k3_s22_e3_i16_o16\nr1_k3_s11_e3_i16_o16\n"
DEFAULTS = types.SimpleNamespace(**{flag.name: flag.default for flag in FLAGS})


def batches(far: bool):
    """Stripes in two opposite corners under noise. Labels: whether they are alike, or how those of one corner run.

    Features of single positions, averaged over the image, tell which stripes there are, not whether both are one kind.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:8, :8]
    stripes = np.stack([y % 4 < 2, x % 4 < 2, (x + y) % 4 < 2, (x - y) % 4 < 2])[..., None] * 2.0 - 1.0
    first, alike = rng.integers(4, size=2048), rng.integers(2, size=2048)
    second = np.where(alike, first, (first + rng.integers(1, 4, size=2048)) % 4)
    images = rng.normal(scale=0.3, size=[2048, SIZE, SIZE, 3])
    images[:, :8, :8] += stripes[first]
    images[:, -8:, -8:] += stripes[second]
    labels = alike if far else first % 2
    data = tf.data.Dataset.from_tensor_slices((images.astype(np.float32), labels.astype(np.int32)))
    return iter(data.repeat().batch(BATCH, drop_remainder=True))


@pytest.fixture(scope="module")
def margins(tmp_path_factory):
    """far -> the margins of LightNL's gates, block by block, where a search from a network without it ends."""
    path = tmp_path_factory.mktemp("around") / "arch.txt"
    path.write_text(ARCH)
    space = space_lib.load(f"around:{path}")
    shape = {"image_size": SIZE, "num_classes": CLASSES}
    found = {}
    for far in (True, False):
        keras.utils.set_random_seed(0)
        supernet = Supernet(space, **shape, name="supernet")
        set_momentum(supernet, 0.9)
        start = space.smallest()
        network = build_network(start, **shape)
        # Its classifier is as large as a trained one. A new one would grow too slowly at the rate of trained weights.
        kernel = network.get_layer("logits").kernel
        kernel.assign(kernel * (1000 / CLASSES) ** 0.5)
        take_over(supernet, network, supernet.table.opened(space.selections_of(start, "it")))
        schedule = SearchSchedule(
            total_steps=STEPS,
            warmup_steps=round(BY_START["search_warmup_share"][1] * STEPS),
            settle_steps=STEPS // 10,
            keep_probability=BY_START["gate_keep_probability"][1],
            cost_lambda=DEFAULTS.cost_lambda,
            threshold_travel=DEFAULTS.threshold_travel,
        )
        optimizers = [TF1RMSprop(rate) for rate in (0.004 / 16, 0.004)]
        learner = Learner(supernet, optimizer_groups(supernet, optimizers[0], schedule, optimizers[1]))
        objective = search_objective(
            supernet,
            GateCost(supernet.table, macs_model(space, **shape)),
            schedule,
            global_batch_size=BATCH,
            num_micro_batches=1,
            label_smoothing=0.1,
            weight_decay_rate=1e-5,
            seed=0,
        )
        train = make_train_function(tf.distribute.get_strategy(), learner, objective, tracker(supernet, schedule))
        train(batches(far), STEPS)
        indices = [index for index, gate in enumerate(supernet.table.gates) if gate.choice == "nl"]
        found[far] = supernet.margins.numpy()[indices]
    return found


@pytest.mark.slow
def test_light_nl_comes_in_where_labels_relate_far_apart_parts(margins):
    assert margins[True].max() > 0.2


def test_light_nl_stays_out_where_one_part_tells_the_label(margins):
    assert margins[False].max() < 0.1


def test_only_the_light_nl_that_the_network_lacks_is_new_and_has_the_optimizer_for_it(tmp_path):
    path = tmp_path / "arch.txt"
    path.write_text("r1_k3_s11_e2_i32_o16_nonlocal0.25-1\nr1_k3_s22_e3_i16_o16\nr1_k3_s11_e3_i16_o16\n")
    space = space_lib.load(f"around:{path}")
    supernet = Supernet(space, image_size=SIZE, num_classes=CLASSES, name="supernet")
    assert not supernet.new_layers()
    supernet.start_at(supernet.table.opened(space.selections_of(presets.load(str(path)), "it")))
    assert supernet.new_layers() == [block.inserted["nl"] for block in supernet.blocks[1:]]
    schedule = SearchSchedule(10, 2, 2, 0.9, 0.3, 3.0)
    groups = optimizer_groups(supernet, TF1RMSprop(0.1), schedule, TF1RMSprop(1.6))
    _, new, thresholds = ([variable.name for variable in variables] for _, variables in groups)
    assert new == [v.name for block in supernet.blocks[1:] for v in block.inserted["nl"].trainable_variables]
    assert thresholds == [supernet.thresholds.name]
    every = [id(variable) for _, variables in groups for variable in variables]
    assert sorted(every) == sorted(map(id, supernet.trainable_variables))
