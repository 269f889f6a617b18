"""`--mode=search`: a space and a dataset to `arch.txt`, the file that `--mode=train --arch=` reads."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shlex
from typing import Any

import tensorflow as tf

from autonl_tf.arch import blockstring
from autonl_tf.arch import space as space_lib
from autonl_tf.arch.cost import network_cost
from autonl_tf.config import Config
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.engine import rundir
from autonl_tf.engine.batch_norm import set_momentum
from autonl_tf.engine.checkpoints import Checkpoints
from autonl_tf.engine.files import write_json, write_text
from autonl_tf.engine.learner import Learner
from autonl_tf.engine.loop import run_training
from autonl_tf.engine.runlog import read_records
from autonl_tf.engine.strategy import is_chief
from autonl_tf.errors import UserError
from autonl_tf.layers.precision import precision_scope
from autonl_tf.modes import wiring
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search import result
from autonl_tf.search.objective import optimizer_groups, search_objective
from autonl_tf.search.schedule import SearchSchedule


def run(config: Config) -> None:
    """Searches, then writes arch.txt, search.json and the pictures into `--model_dir`."""
    space = space_lib.load(config.search.search_space)
    strategy = wiring.devices(config)
    wiring.check_batches(config, strategy)
    dataset = wiring.dataset_of(config)
    config = wiring.resolved(config, dataset)
    image_size = config.network.input_image_size
    space.check(image_size)
    wiring.check_images(dataset, image_size, config.data.crop_padding, "train")
    length = wiring.length_of(config, dataset)
    schedule = schedule_of(config, length.steps)
    files = {"searched_space.json": space_text(space)}
    with (
        wiring.open_run(config, strategy, dataset, ("train",), files) as directory,
        wiring.naming_corrupt(dataset, "train"),
    ):
        learner = _learner(config, strategy, space, dataset, image_size, length, schedule)
        supernet = learner.model
        cost = GateCost(supernet.table, image_size=image_size, num_classes=dataset.num_classes)
        objective = search_objective(
            supernet,
            cost,
            schedule,
            global_batch_size=config.data.train_batch_size,
            num_parts=wiring.parts_of_batch(config, strategy),
            label_smoothing=config.fit.label_smoothing,
            weight_decay_rate=config.fit.weight_decay,
            seed=config.run.seed,
        )
        track = lambda step: supernet.track(schedule.settled(step))  # noqa: E731
        run_training(
            strategy,
            learner,
            wiring.train_function(config, strategy, learner, objective, track),
            wiring.training_input(config, strategy, dataset),
            total_steps=length.steps,
            steps_per_loop=config.fit.steps_per_loop,
            log=wiring.run_log(config, strategy, length),
            checkpoints=Checkpoints(directory.path, learner, wiring.say),
            save_every=config.fit.save_every_steps,
            max_skipped=config.fit.max_skipped_updates,
        )
        if is_chief(strategy):
            _write(config, directory.path, supernet, schedule, image_size, dataset.num_classes)


def space_text(space: space_lib.Space) -> str:
    """Every block with its options: a search goes on in the space it began in, though its file may have changed."""
    return json.dumps([dataclasses.asdict(block) for block in space.blocks], indent=2) + "\n"


def schedule_of(config: Config, total_steps: int) -> SearchSchedule:
    """The phases in steps, from the shares that the flags give.

    Raises:
      UserError: rounded to steps, they leave none in which gates are decided.
    """
    search = config.search
    schedule = SearchSchedule(
        total_steps=total_steps,
        warmup_steps=round(search.search_warmup_share * total_steps),
        settle_steps=round(search.search_settle_share * total_steps),
        keep_probability=search.gate_keep_probability,
        explore_probability=search.gate_explore_probability,
        cost_lambda=search.cost_lambda,
        threshold_travel=search.threshold_travel,
    )
    if schedule.warmup_steps >= schedule.settle_start:
        raise UserError(
            f"a search of {total_steps} steps leaves none for decisions: {schedule.warmup_steps} are warm-up and "
            f"{schedule.settle_steps} settling; accepted: a larger --train_steps or --train_epochs"
        )
    return schedule


def _learner(
    config: Config,
    strategy: tf.distribute.Strategy,
    space: space_lib.Space,
    dataset: ImageDataset,
    image_size: int,
    length: wiring.Length,
    schedule: SearchSchedule,
) -> Learner:
    with strategy.scope(), precision_scope(config.run.precision):
        supernet = Supernet(
            space,
            image_size=image_size,
            num_classes=dataset.num_classes,
            dropout_rate=config.network.dropout_rate,
            sync_batch_norm=config.fit.sync_batch_norm,
            name="supernet",
        )
        set_momentum(supernet, config.fit.batch_norm_momentum)
        groups = optimizer_groups(supernet, wiring.weights_optimizer(config, length), schedule)
        # No moving averages of the weights: decisions have averages of their own, and weights are trained anew.
        return Learner(supernet, groups, guard=wiring.guard(config))


def _write(
    config: Config,
    directory: pathlib.Path,
    supernet: Supernet,
    schedule: SearchSchedule,
    image_size: int,
    num_classes: int,
) -> None:
    from autonl_tf.pictures import network as network_picture
    from autonl_tf.pictures import search as search_picture

    spec, account = result.summary(
        supernet.table, supernet.margins.numpy(), image_size=image_size, num_classes=num_classes
    )
    records = read_records(directory / "metrics.jsonl")
    account |= {
        "phases": {"warmup_end": schedule.warmup_steps, "settle_start": schedule.settle_start},
        "trajectory": [
            {name: record[name] for name in ("step", "macs", "cost_lambda", "cross_entropy")} for record in records
        ],
        "settings": config.read_settings(),
        "versions": rundir.versions(),
        "git_commit": rundir.git_commit(),
    }
    write_text(directory / "arch.txt", blockstring.write(spec))
    write_json(directory / "search.json", account)
    costs = network_cost(spec, image_size=image_size, num_classes=num_classes)
    network_picture.draw_network(spec, directory / "network.png", image_size=image_size, cost=costs)
    search_picture.draw_search(
        records,
        directory / "search.png",
        warmup_end=schedule.warmup_steps,
        settle_start=schedule.settle_start,
        total_steps=schedule.total_steps,
        largest_macs=account["largest_macs"],
        smallest_macs=account["smallest_macs"],
    )
    _tell(config, directory, account)


def _tell(config: Config, directory: pathlib.Path, account: dict[str, Any]) -> None:
    millions = {name: account[name] / 1e6 for name in ("macs", "largest_macs", "smallest_macs")}
    calls = ", ".join(f"{gate['name']} {gate['margin']:+.2f}" for gate in result.close_calls(account))
    print("\n".join(account["arch"]))
    print(
        f"\nfound: {millions['macs']:.2f}M MACs (space: {millions['smallest_macs']:.2f}M to "
        f"{millions['largest_macs']:.2f}M), {account['params']:,} parameters\n"
        f"closest calls (margin): {calls}\n"
        f"written: {directory}/arch.txt, search.json, network.png, search.png\n"
        f"next:\n  python main.py --mode=train {shlex.quote(f'--arch={directory}/arch.txt')} --model_dir=DIR "
        f"{wiring.image_words(config)}"
    )
