"""Which quantity lags when averaged weights overflow early in a run: weights, batch-norm statistics, or LightNL's own.

Trains a network with LightNL on the built-in data by the demo's recipe and, at several steps, scores the validation
images with the plain weights and with the averages, each with the statistics it has and with statistics measured
afresh on training batches (of every batch norm, of LightNL's alone, of all but LightNL's). For the averages it also
gives, by kind of batch norm, variance measured afresh over variance in use (median and largest over channels), and for
the training step the largest value that LightNL's product takes. Ends in one line of JSON.

    python benchmarks/average_lag.py [--arch=FILE] [--steps=47,94,188,376] [--batch_norm_momentum=0.99]
        [--base_learning_rate=0.1] [--lr_warmup_epochs=1] [--precision=float32]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch import blockstring, presets
from autonl_tf.data.batches import eval_batches, train_batches
from autonl_tf.data.datasets import open_dataset
from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.batch_norm import averaged_variables, batch_norms, set_momentum
from autonl_tf.engine.evaluate import Evaluator
from autonl_tf.engine.learner import TROUBLES, Learner, make_train_function
from autonl_tf.engine.objectives import classification_objective
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.engine.schedules import WarmupStaircase, scale_learning_rate
from autonl_tf.engine.update_check import UpdateCheck
from autonl_tf.layers.precision import precision_scope
from autonl_tf.networks.network import build_network

ARCH = """\
r1_k3_s22_e1_i32_o16_noskip
r1_k5_s11_e6_i16_o24_nonlocal0.25-2
r1_k5_s22_e3_i24_o40_nonlocal0.25-1
r1_k5_s11_e3_i40_o64_nonlocal0.25-1
"""
SIZE, BATCH, CLASSES, FRESH_BATCHES = 64, 64, 8, 10


class Statistics:
    """The moving statistics of some batch norms, and their values measured afresh with the weights as they are."""

    def __init__(self, model, batches):
        self.layers = batch_norms(model)
        self._batches = batches
        momenta = [layer.momentum for layer in self.layers]
        set_momentum(model, 0.0)
        self._step = tf.function(lambda images: model(images, training=True))
        self._step(tf.zeros([BATCH, SIZE, SIZE, 3]))  # traced with momentum 0: the statistics of the last batch
        for layer, momentum in zip(self.layers, momenta, strict=True):
            layer.momentum = momentum

    def read(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(layer.moving_mean.numpy(), layer.moving_variance.numpy()) for layer in self.layers]

    def write(self, values) -> None:
        for layer, (mean, variance) in zip(self.layers, values, strict=True):
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)

    def measure(self):
        """Means over the batches; the statistics in use are left as they were."""
        before, found = self.read(), []
        for images, _ in self._batches:
            self._step(images)
            found.append(self.read())
        self.write(before)
        return [tuple(np.mean([f[i][j] for f in found], axis=0) for j in (0, 1)) for i in range(len(self.layers))]


def kind_of(layer) -> str:
    return "light_nl" if layer.name.endswith("nl_bn") else "project" if "project" in layer.name else "other"


def ratios(layers, used, fresh) -> dict:
    by_kind: dict[str, list[float]] = {}
    for layer, (_, old), (_, new) in zip(layers, used, fresh, strict=True):
        by_kind.setdefault(kind_of(layer), []).extend(((new + 1e-3) / (old + 1e-3)).tolist())
    return {kind: {"median": statistics.median(r), "largest": max(r)} for kind, r in by_kind.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch")
    parser.add_argument("--steps", default="47,94,188,376")
    parser.add_argument("--batch_norm_momentum", type=float, default=0.99)
    parser.add_argument("--base_learning_rate", type=float, default=0.1)
    parser.add_argument("--lr_warmup_epochs", type=float, default=1.0)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--training_only", action="store_true", help="leaves out the scores")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    spec = presets.load(options.arch) if options.arch else blockstring.parse(ARCH)
    keras.utils.set_random_seed(options.seed)
    dataset = open_dataset("demo", data_dir="runs/data")
    with precision_scope(options.precision):
        model = build_network(spec, image_size=SIZE, num_classes=CLASSES, dropout_rate=0.1)
    set_momentum(model, options.batch_norm_momentum)
    per_epoch = dataset.size("train") / BATCH
    peak = scale_learning_rate(options.base_learning_rate, BATCH)
    rate = WarmupStaircase(peak, per_epoch, int(options.lr_warmup_epochs * per_epoch), 1.5, 0.8)
    averages = MovingAverages(averaged_variables(model), 0.9999)
    update_check = UpdateCheck(scale_loss=options.precision == "float16")
    learner = Learner(model, [(TF1RMSprop(rate), model.trainable_variables)], averages, update_check=update_check)
    recipe = {"global_batch_size": BATCH, "num_micro_batches": 1, "label_smoothing": 0.1, "weight_decay_rate": 1e-5}
    strategy = tf.distribute.get_strategy()
    train = make_train_function(strategy, learner, classification_objective(model, **recipe))
    crops = {"image_size": SIZE, "crop_padding": 0, "normalization": spec.normalization}
    make = lambda seed: train_batches(dataset, batch_size=BATCH, seed=seed, min_crop_area=0.8, **crops)  # noqa: E731
    batches, fresh_batches = iter(make(options.seed)), list(make(1).take(FRESH_BATCHES))
    validation = list(eval_batches(dataset, batch_size=200, **crops))
    evaluator = Evaluator(strategy, model)
    stats = None
    report = []
    for step in map(int, options.steps.split(",")):
        metrics = train(batches, step - learner.current_step)
        entry: dict = {
            "step": step,
            "cross_entropy": metrics["cross_entropy"][0] / max(metrics["cross_entropy"][1], 1.0),
        }
        entry |= {name: metrics[name][0] for name in TROUBLES if name in metrics}
        with keep(model):
            entry["largest_product"] = largest_products(model, fresh_batches[0][0])
        if options.training_only:
            report.append(entry)
            print(json.dumps(entry), file=sys.stderr, flush=True)
            continue
        if stats is None:  # after the training step was traced with the momentum asked for
            with keep(model):
                stats = Statistics(model, fresh_batches)
        for name, weights in (("plain", contextlib.nullcontext()), ("averages", averages.swapped_in())):
            with weights:
                used, fresh = stats.read(), stats.measure()
                entry[name] = scores(evaluator, validation, dataset, stats, used, fresh)
                if name == "averages":
                    entry["variance_fresh_over_used"] = ratios(stats.layers, used, fresh)
        report.append(entry)
        print(json.dumps(entry), file=sys.stderr, flush=True)
    print(json.dumps({**vars(options), "tensorflow": tf.__version__, "report": report}))


@contextlib.contextmanager
def keep(model):
    """Puts every value of the model back at the end."""
    values = [variable.numpy() for variable in model.variables]
    yield
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)


def largest_products(model, images) -> dict[str, float]:
    """Largest absolute value of every LightNL product on a batch, batch norm with the batch's statistics."""
    layers = [layer for layer in model.layers if layer.name.endswith("nl_product")]
    values = keras.Model(model.inputs, [layer.output for layer in layers])(images, training=True)
    return {layer.name: float(tf.reduce_max(tf.abs(value))) for layer, value in zip(layers, values, strict=True)}


def scores(evaluator, validation, dataset, stats, used, fresh) -> dict:
    """Validation loss and top-1 with the statistics in use and with some or all of them fresh."""
    mixed = {
        "as_they_are": used,
        "all_fresh": fresh,
        "light_nl_fresh": pick(stats.layers, fresh, used, {"light_nl"}),
        "others_fresh": pick(stats.layers, used, fresh, {"light_nl"}),
    }
    found = {}
    for name, values in mixed.items():
        stats.write(values)
        score = evaluator(validation, dataset.size("validation"))
        found[name] = {"loss": score["loss"], "top1": score["top1"]}
    stats.write(used)
    return found


def pick(layers, inside, outside, kinds):
    return [inside[i] if kind_of(layer) in kinds else outside[i] for i, layer in enumerate(layers)]


if __name__ == "__main__":
    main()
