"""What every open LightNL and squeeze-excite of a search really gains, beside the margin that decides about it.

    python benchmarks/measured_gains.py [--batches=16] [--close] FLAGS_OF_A_SEARCH

Runs a search. When it takes its decisions, before flips to a target, each open gate of these kinds is closed by itself
in the network that the margins decide: how much the cross-entropy of training batches rises is its gain, in nats, with
its standard error over images. Twice: `trained` is the loss that the search minimizes, with label smoothing and
dropout, the same draws for both networks; `plain` is without either. Batch norm takes the batch's statistics. With
--close gates whose plain gain is below 0 are closed then; without, nothing of it is left in the search. Ends in one
line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import shlex
import sys

import numpy as np
import tensorflow as tf
from support.main_py import ROOT

from autonl_tf.arch import blockstring
from autonl_tf.cli.main import run
from autonl_tf.commands.search import run as search
from autonl_tf.engine.averages import restored
from autonl_tf.engine.batch_norm import forward_state
from autonl_tf.engine.objectives import cross_entropy
from autonl_tf.engine.rundir import git_commit, versions
from autonl_tf.errors import UserError
from autonl_tf.layers.draws import drawing


def entropies(supernet, label_smoothing: float, dropout_rate: float):
    """A function of images, labels and gates [G]: the cross-entropy of each image, [B]."""
    supernet.head_dropout.rate = dropout_rate  # read when the function is traced, at its first call

    @tf.function(autograph=False)
    def measured(images, labels, gates):
        with drawing(0, tf.constant(0, tf.int64), tf.constant(0), 1):
            return cross_entropy(supernet(images, gates=gates, training=True), labels, label_smoothing)

    return measured


def gains(strategy, supernet, batches: list, label_smoothing: float, dropout_rate: float) -> dict[str, dict]:
    """By the name of each open gate that adds something: the mean `gain` and its standard `error`."""
    measured = entropies(supernet, label_smoothing, dropout_rate)

    def of(gates: np.ndarray) -> np.ndarray:
        return np.concatenate([measured(*batch, tf.constant(gates)).numpy() for batch in batches])

    found, gates = {}, (supernet.margins.numpy() >= 0).astype(np.float32)
    with restored(strategy, forward_state(supernet)):
        with_all = of(gates)
        for index, gate in enumerate(supernet.table.gates):
            if gate.adds and gates[index]:
                without = gates.copy()
                without[index] = 0
                risen = of(without) - with_all
                if risen.any():  # else its block is dropped
                    error = risen.std(ddof=1) / math.sqrt(len(risen))
                    found[gate.name] = {"gain": float(risen.mean()), "error": float(error)}
    return found


def measured_search(count: int, close: bool, result: dict) -> None:
    """Lets the program's search fill in `result`."""
    begin, make_learner, train, held = search._search, search._learner, search.run_training, {}

    def beginning(config, strategy, space):
        if strategy.num_replicas_in_sync > 1:
            raise UserError(f"{strategy.num_replicas_in_sync} replicas: gains are measured on one device")
        if (pathlib.Path(config.model_dir) / "search.json").exists():
            raise UserError(f"--model_dir={config.model_dir}: holds a finished search; accepted: a new directory")
        begin(config, strategy, space)

    def learner_of(config, *rest):
        held.update(config=config, schedule=rest[4])
        return make_learner(config, *rest)

    def measuring(strategy, learner, function, make_batches, *, on_loop=None, stops=(), **rest):
        schedule, supernet, config = held["schedule"], learner.model, held["config"]

        def decide(step, values):
            if step == schedule.settle_start:
                iterator = make_batches(schedule.total_steps)  # batches that the search does not come to
                batches, margins = [next(iterator) for _ in range(count)], supernet.margins.numpy()
                rate = supernet.head_dropout.rate
                trained = gains(strategy, supernet, batches, config.label_smoothing, rate)
                plain = gains(strategy, supernet, batches, 0.0, 0.0)
                supernet.head_dropout.rate = rate
                margin_of = dict(zip(supernet.table.names, margins.tolist(), strict=True))
                result["gates"] = [
                    {"gate": name, "margin": margin_of[name], "trained": trained[name], "plain": plain[name]}
                    for name in plain
                ]
                if close:
                    useless = [name in plain and plain[name]["gain"] < 0 for name in supernet.table.names]
                    supernet.margins.assign(np.where(useless, -1.0, margins))
            return on_loop(step, values) if on_loop else {}

        train(strategy, learner, function, make_batches, on_loop=decide, stops=(schedule.settle_start, *stops), **rest)
        found = supernet.table.decode(supernet.margins.numpy() >= 0)
        result["arch"] = blockstring.write(found).splitlines()

    search._search, search._learner, search.run_training = beginning, learner_of, measuring


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--batches", type=int, default=16, help="training batches to measure on")
    parser.add_argument("--close", action="store_true", help="close what does not gain")
    options, words = parser.parse_known_args()
    if options.batches < 1:
        parser.error(f"--batches={options.batches}; accepted: 1 or more")
    given = shlex.join(["python", "benchmarks/measured_gains.py", *sys.argv[1:]])
    os.chdir(ROOT)
    sys.argv[1:], result = [*words, "--mode=search"], {}
    measured_search(options.batches, options.close, result)
    try:
        run()
    except SystemExit as end:
        if end.code:
            raise
    if "gates" not in result:
        parser.error("the search that went on had taken its decisions before; accepted: a new --model_dir")
    print(json.dumps({"command": given, "commit": git_commit(), "versions": versions(), "result": result}))


if __name__ == "__main__":
    main()
