"""Eight training steps of a small network against the official ones: losses, and each variable's change."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from golden_data import TESTDATA, TINY, VALUES

from autonl_tf.arch import blockstring, presets
from autonl_tf.checkpoint.tf1 import official_names
from autonl_tf.engine import averages, batch_norm, learner, objectives, optimizer, schedules, strategy
from autonl_tf.networks.network import build_network

GOLDEN = TESTDATA / "train"
LARGE_ENOUGH = 1e-5  # a change below this is rounding


def start_value(name, shape):
    if "/nl/" in name and name.endswith("/gamma"):
        return np.full(shape, 0.1, "f4")
    return VALUES.value(name, shape)


class Trajectory:
    """The steps made by our engine: metrics, and each variable and average, by official name."""

    def __init__(self, golden, make_optimizer=optimizer.TF1RMSprop):
        spec = blockstring.parse(TINY)
        names = dict(official_names(spec))
        model = build_network(spec, image_size=golden["image_size"], num_classes=golden["num_classes"])
        start = {}
        for variable in model.variables:
            name = names[variable.name.split(":")[0]]
            start[name] = start_value(name, tuple(variable.shape))
            variable.assign(start[name])
        shadows = averages.MovingAverages(batch_norm.averaged_variables(model), golden["ema_decay"])
        schedule = schedules.WarmupStaircase(
            golden["base_lr"] * golden["batch"] / 256,
            golden["steps_per_epoch"],
            int(golden["warmup_epochs"] * golden["steps_per_epoch"]),
        )
        group = (make_optimizer(schedule), model.trainable_variables)
        trained = learner.Learner(model, [group], shadows)
        objective = objectives.classification_objective(
            model,
            global_batch_size=golden["batch"],
            num_micro_batches=1,
            label_smoothing=golden["label_smoothing"],
            weight_decay_rate=golden["weight_decay"],
        )
        train = learner.make_train_function(strategy.make_strategy("cpu"), trained, objective)
        labels = tf.constant(golden["labels"], tf.int32)
        images = np.stack([VALUES.inputs(1000 + step, golden["batch"], 64) for step in range(8)])
        batches = iter(tf.data.Dataset.from_tensor_slices((images, labels)))
        self.metrics = [train(batches, 1) for _ in range(8)]
        self.start = start
        self.final = {names[v.name.split(":")[0]]: v.numpy() for v in model.variables}
        self.averages = {names[name]: v.numpy() for name, v in shadows.shadows.items()}


@pytest.fixture(scope="module")
def golden():
    return json.loads((GOLDEN / "trajectory.json").read_text())


@pytest.fixture(scope="module")
def ours(golden):
    return Trajectory(golden)


def test_losses_and_rates_follow_the_official_training(ours, golden):
    for reached, step in zip(ours.metrics, golden["steps"], strict=True):
        assert reached["loss"][0] == pytest.approx(step["loss"], rel=1e-5)
        assert reached["weight_decay"][0] == pytest.approx(step["l2"], rel=1e-5)
        assert reached["learning_rate"][0] == pytest.approx(step["lr"], rel=1e-6)


def change_errors(ours, golden) -> dict[tuple[str, str], float]:
    """Relative L2 error of the change of each variable (`first`) and average (`ema_first`) that moved enough."""
    errors = {}
    for name, official in golden["final"].items():
        count = len(official["first"])
        start = ours.start[name].ravel()[:count].astype("f8")
        for reached, expected in ((ours.final, "first"), (ours.averages, "ema_first")):
            change = reached[name].ravel()[:count] - start
            wanted = np.array(official[expected]) - start
            if np.linalg.norm(wanted) > LARGE_ENOUGH:
                errors[name, expected] = np.linalg.norm(change - wanted) / np.linalg.norm(wanted)
    return errors


def test_every_variable_and_average_changes_as_in_the_official_training(ours, golden):
    assert ours.final.keys() == golden["final"].keys() == ours.averages.keys()
    errors = change_errors(ours, golden)
    assert max(errors.values()) < 0.005, max(errors, key=errors.get)
    assert len(errors) > 2 * 0.9 * len(golden["final"])


@pytest.mark.parametrize(
    "wrong",
    [
        keras.optimizers.SGD,
        lambda rate: optimizer.TF1RMSprop(rate, momentum=0.0),
        lambda rate: keras.optimizers.RMSprop(rate, rho=0.9, momentum=0.9, epsilon=1e-3),
    ],
    ids=["sgd", "no_momentum", "keras_rmsprop"],
)
def test_another_optimizer_would_not_pass(golden, wrong):
    errors = change_errors(Trajectory(golden, wrong), golden)
    trained = [error for (name, _), error in errors.items() if "moving_" not in name]
    assert min(trained) > 0.005


def test_no_update_at_all_would_not_pass(ours, golden):
    still = types.SimpleNamespace(start=ours.start, final=ours.start, averages=ours.start)
    assert min(change_errors(still, golden).values()) == 1.0


@pytest.mark.parametrize("network", ["tiny", "autonl_s"])
def test_official_names_and_shapes_are_those_of_the_release(network):
    """The names as a checkpoint of the release lists them, and our layers carry the other side of the map."""
    official = {
        name: tuple(shape) for name, shape in json.loads((GOLDEN / "official_variables.json").read_text())[network]
    }
    spec, size, classes = (
        (blockstring.parse(TINY), 64, 10) if network == "tiny" else (presets.load("autonl_s"), 224, 1000)
    )
    pairs = official_names(spec)
    model = build_network(spec, image_size=size, num_classes=classes)
    ours = {v.name.split(":")[0]: tuple(v.shape) for v in model.variables}
    assert len(pairs) == len({mine for mine, _ in pairs}) == len(ours)
    assert {name: ours[mine] for mine, name in pairs} == official
