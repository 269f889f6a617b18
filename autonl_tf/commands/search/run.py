"""`--mode=search`: a space and a dataset to `arch.txt`, the file that `--mode=train --arch=` reads."""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.parts import BATCH_NORM
from autonl_tf.checkpoint.checkpoint import Checkpoint
from autonl_tf.commands.search.decisions import SearchLearner, deciding
from autonl_tf.commands.search.flags import cost_models, phases, target_of
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.engine import rundir
from autonl_tf.engine.batch_norm import batch_norms, set_momentum
from autonl_tf.engine.checkpoints import Checkpoints
from autonl_tf.engine.loop import run_training
from autonl_tf.engine.runlog import read_records
from autonl_tf.engine.saved import steps_saved
from autonl_tf.engine.strategy import is_chief
from autonl_tf.files import write_text
from autonl_tf.layers.precision import precision_scope
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.inherit import take_over
from autonl_tf.networks.network import build_network
from autonl_tf.networks.supernet import Supernet
from autonl_tf.prepare import checkpointed, defaults, fit_memory, inputs, machines, rates, run_directory, train_step
from autonl_tf.reading import MOST_LONG, read_text
from autonl_tf.search import results
from autonl_tf.search.multiplier import TargetMultiplier
from autonl_tf.search.objective import optimizer_groups, search_objective, tracker
from autonl_tf.search.schedule import SearchSchedule
from autonl_tf.settings import agreement
from autonl_tf.settings.config import Config
from autonl_tf.settings.next_commands import LENGTHS, OF_CHECKPOINT, beside, next_command
from autonl_tf.settings.recipe import OF_RMSPROP
from autonl_tf.space import around
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import CostModel
from autonl_tf.space.light_nl import LightNL
from autonl_tf.streams import say
from autonl_tf.strict_json import write_json


def run(config: Config) -> None:
    """Searches, then writes arch.txt, search.json and the pictures into `--model_dir`."""
    space = space_lib.load(config.search_space)
    machines.on_devices(config, lambda strategy: _search(config, strategy, space))


def _search(config: Config, strategy: tf.distribute.Strategy, space: space_lib.Space) -> None:
    train_step.check_batches(config, strategy)
    dataset = inputs.dataset_of(config)
    start = _start(config, space) if config.init_checkpoint else None
    config = defaults.resolved(config, dataset, start and start.checkpoint)
    image_size = config.input_image_size
    models = cost_models(config, space, image_size=image_size, num_classes=dataset.num_classes)
    inputs.check_images(config, dataset, image_size, config.crop_padding, "train")
    share = config.search_split
    learnt, held_out = dataset.divided(share, config.seed) if share else (dataset, None)
    count = learnt.size("train")
    config, before = defaults.completed(config, count, start is not None), config
    train_step.check_batches(config, strategy)
    config = fit_memory.fitted(config, strategy, space.largest())
    length = rates.length_of(config, count)
    rates.tell_warmup(config, length)
    schedule = schedule_of(config, length.steps)
    network = _trained_network(config, start, dataset) if start else None
    files = {"searched_space.json": space.text()}
    if config.latency_table:
        files["latency_table.json"] = read_text(config.latency_table, MOST_LONG)
    with (
        run_directory.open_run(config, strategy, dataset, ("train",), files) as directory,
        inputs.naming_corrupt(dataset, "train", data_service=config.data_service),
    ):
        if (chosen := defaults.told(before, config, count)) and is_chief(strategy):
            say(chosen)
        learner = _learner(config, strategy, space, dataset, length, schedule, models[0], start, network)
        supernet = learner.model
        costs = [GateCost(supernet.table, model) for model in models]
        objective = search_objective(
            supernet,
            costs[0],
            schedule,
            global_batch_size=config.train_batch_size,
            num_micro_batches=train_step.num_micro_batches(config, strategy),
            label_smoothing=config.label_smoothing,
            weight_decay_rate=config.weight_decay,
            seed=config.seed,
            target=learner.multiplier,
            reported=costs[1:],
            held_out=held_out is not None,
        )

        make_batches = inputs.training_input(config, strategy, learnt, space.largest().normalization, held_out)
        log = run_directory.run_log(config, strategy, length)
        run_training(
            strategy,
            learner,
            train_step.train_function(
                config, strategy, learner, objective, tracker(supernet, schedule, learner.multiplier)
            ),
            make_batches,
            total_steps=length.steps,
            steps_per_loop=config.steps_per_loop,
            log=log,
            checkpoints=Checkpoints(directory.path, learner, say),
            save_every=config.save_every_steps,
            others=machines.others(config, strategy),
            wait_seconds=config.wait_seconds,
            on_loop=deciding(config, strategy, learner, models[0], schedule, make_batches, log),
            stops=(schedule.settle_start,),
        )
        if is_chief(strategy):
            directory.check("arch.txt is not written")
            _write(config, directory.path, learner, schedule, models)


class Start(NamedTuple):
    """Trained weights that a search starts from, and the selection of each block that makes their network."""

    checkpoint: Checkpoint
    selections: list[dict[str, int]]


def _start(config: Config, space: space_lib.Space) -> Start:
    """What `--init_checkpoint` holds, as a member of the space. Raises UserError where it is none."""
    arch = presets.load(config.arch) if config.arch else None
    assumed = around.architecture(config.search_space)
    found = checkpointed.opened(config, config.init_checkpoint, arch, assumed)
    agreement.check_weights(config, found, None)
    return Start(found, space.selections_of(found.spec.scaled(found.depth_multiplier), found.where))


def _trained_network(config: Config, start: Start, dataset: ImageDataset) -> keras.Model | None:
    """The network of a start with its weights, those of its classifier where the data has the same classes; None where
    the run has a checkpoint of its own. Raises UserError where they cannot be loaded."""
    if steps_saved(pathlib.Path(config.model_dir) / "checkpoints"):
        return None
    size, found = config.input_image_size, start.checkpoint
    sizes = {"image_size": size, "num_classes": dataset.num_classes, "depth_multiplier": found.depth_multiplier}
    model = build_network(found.spec, **sizes)
    checkpointed.start_from(found, model, dataset, config.use_averages)
    return model


def schedule_of(config: Config, total_steps: int) -> SearchSchedule:
    """The phases in steps. Raises as `phases`."""
    warmup, settle = phases(config, total_steps)
    return SearchSchedule(
        total_steps=total_steps,
        warmup_steps=warmup,
        settle_steps=settle,
        keep_probability=config.gate_keep_probability,
        cost_lambda=config.cost_lambda,
        threshold_travel=config.threshold_travel,
    )


def _learner(
    config: Config,
    strategy: tf.distribute.Strategy,
    space: space_lib.Space,
    dataset: ImageDataset,
    length: rates.Length,
    schedule: SearchSchedule,
    model: CostModel,
    start: Start | None,
    network: keras.Model | None,
) -> SearchLearner:
    with strategy.scope(), precision_scope(config.precision):
        supernet = Supernet(
            space,
            image_size=config.input_image_size,
            num_classes=dataset.num_classes,
            dropout_rate=config.dropout_rate,
            sync_batch_norm=config.sync_batch_norm,
            name="supernet",
        )
        set_momentum(supernet, config.batch_norm_momentum)
        if network is not None:
            take_over(supernet, network, supernet.table.opened(start.selections))
        elif start:
            supernet.start_at(supernet.table.opened(start.selections))  # the rest comes from this run's own checkpoint
        if start and _only_places(space):
            say("frozen: batch_norm, since nothing but LightNL is chosen")
            for layer in batch_norms(supernet):
                layer.trainable = not layer.name.endswith(BATCH_NORM)
        new_rate = rates.weights_optimizer(config, length, defaults.new_factor(config)) if start else None
        groups = optimizer_groups(supernet, rates.weights_optimizer(config, length), schedule, new_rate)
        multiplier = None
        if target := target_of(config):
            cost = GateCost(supernet.table, model)
            multiplier = TargetMultiplier(cost, target[1], model.reachable(), supernet.starts, schedule)
        return SearchLearner(supernet, groups, multiplier, train_step.update_check(config))


def _write(
    config: Config,
    directory: pathlib.Path,
    learner: SearchLearner,
    schedule: SearchSchedule,
    models: list[CostModel],
) -> None:
    from autonl_tf.commands.report.run import RESULT, write_report

    image_size, num_classes = config.input_image_size, config.num_label_classes
    table, model = learner.model.table, models[0]
    margins, turned = learner.decided()
    records = read_records(directory / "metrics.jsonl")
    taken = next((record for record in records if record["step"] == schedule.settle_start), {})
    shape = {"image_size": image_size, "num_classes": num_classes}
    spec, result = results.summary(table, margins, **shape, **turned, record=taken)
    names = ("step", *(model.name for model in models), "cost_lambda", "cross_entropy")
    target = target_of(config)
    result |= {
        "budget": results.budget(table, model, result, target and target[1], schedule),
        "decisions": results.decisions(result, schedule, taken),
        "close_calls": results.close_calls(table, model, result),
        "phases": {
            "warmup_end": schedule.warmup_steps,
            "settle_start": schedule.settle_start,
            "total_steps": schedule.total_steps,
        },
        "trajectory": [
            {name: record[name] for name in names} | {"gates": [record[f"gate/{name}"] for name in table.names]}
            for record in records
        ],
        "next": _next_commands(config, directory, ["--freeze=batch_norm"] if _only_places(table.space) else []),
        "settings": config.read(),
        "versions": rundir.versions(),
        "git_commit": rundir.git_commit(),
    }
    result["warnings"] = results.warnings(result, schedule)
    write_text(directory / "arch.txt", blockstring.write(spec))
    write_json(directory / RESULT, result)
    write_report(directory, result)
    _tell(directory, result, model)


def _only_places(space: space_lib.Space) -> bool:
    """Whether nothing but LightNL is chosen. From trained weights the network's batch norm then stays as it is, in the
    search and in the training behind it: no choice changes what it normalises, and statistics of a short run are worse
    (docs/from_pretrained.md)."""
    return not any(
        block.droppable or len(options) > 1
        for block in space.blocks
        for choice, options in block.options.items()
        if choice not in LightNL.choices
    )


def _next_commands(config: Config, directory: pathlib.Path, freeze: list[str]) -> list[str]:
    """Two training commands, from scratch and from the search's weights, with the user's flags except the search's
    length; the defaults give the rest. After a search from trained weights: an evaluation, and an equally short
    training by Adam from the search's weights that freezes what the search froze."""
    size = f"--input_image_size={config.input_image_size}"
    own = [f"--arch={directory}/arch.txt", f"--init_checkpoint={directory}"]
    own += [f"--model_dir={beside(directory, 'tuned')}"]
    if config.init_checkpoint:
        steps, epochs = config.train_steps, config.train_epochs
        length = f"--train_steps={steps}" if steps else f"--train_epochs={epochs:g}"
        batch = config.train_batch_size
        rate = ["--optimizer=adam", f"--base_learning_rate={defaults.adam_rates(batch)['tuned']:g}"]
        taken = [f"--train_batch_size={batch}", length, *rate, *freeze]
        return [
            next_command(config, "eval", f"--init_checkpoint={directory}", without=(*OF_CHECKPOINT, "model_dir")),
            next_command(config, "train", *own, size, *taken, without=(*LENGTHS, *OF_RMSPROP, "nonlocal")),
        ]
    starts = [
        [f"--arch={directory}/arch.txt", f"--model_dir={beside(directory, 'train')}"],
        own,
    ]
    return [next_command(config, "train", *words, size, without=LENGTHS) for words in starts]


def _target_text(budget: dict[str, Any], model: CostModel) -> str:
    """How the target was met, in a line or two."""
    text = (
        f"target: {model.text(budget['target'])}, reached {model.text(budget['found'])} ({budget['error']:+.2%}); "
        f"before flips {model.text(budget['before_flips'])}\n"
    )
    if budget["flips"]:
        names = ", ".join(budget["flips"])
        text += f"flipped to meet it: {names}, which decided {budget['flips_share']:.1%} of the cost\n"
    return text


def _measured_text(result: dict[str, Any], names: dict[str, str]) -> str:
    """What was measured, and which gates were closed for it, in a line."""
    measured = [gate for gate in result["gates"] if gate["measured"]]
    if not measured:
        return ""
    closed = ", ".join(names[gate["name"]] for gate in measured if gate["closed"]) or "none"
    count = f"{len(measured)} gate{'s' * (len(measured) > 1)}"
    images = f"{result['decisions']['measured_images']:,} images"
    return f"measured: the gains of {count} on {images}; closed, since not seen to gain their price: {closed}\n"


def _tell(directory: pathlib.Path, result: dict[str, Any], model: CostModel) -> None:
    from autonl_tf.commands.report.run import PAGE, RESULT
    from autonl_tf.pictures.report import gate_names

    millions = {name: result[name] / 1e6 for name in ("macs", "largest_macs", "smallest_macs")}
    names = gate_names(result)
    calls = ", ".join(f"{names[call['name']]} {call['margin']:+.2f}" for call in result["close_calls"][:5])
    decided, said = result["decisions"], "".join(f"{line}\n" for line in result["warnings"])
    unsure = ", which another seed may decide otherwise" if decided["within_noise"] else ""
    how = "train it from scratch, or from the search's own weights (--init_checkpoint)"
    if result["settings"]["init_checkpoint"]:
        how = "score it with the search's own weights as it is, then train it on from them"
    print("\n".join(result["arch"]))
    print(
        f"\nfound: {millions['macs']:.2f}M MACs (space: {millions['smallest_macs']:.2f}M to "
        f"{millions['largest_macs']:.2f}M), {result['params']:,} parameters\n"
        f"{_target_text(result['budget'], model) if 'target' in result['budget'] else ''}"
        f"decisions: {decided['counting']} gates count, {decided['within_noise']} of them with margins within "
        f"the noise of {decided['noise']:.2f}{unsure}; closest: {calls}\n"
        f"{_measured_text(result, names)}"
        f"{said}"
        f"written: {directory}/arch.txt, {RESULT}, {PAGE}, network.png, search.png\n"
        f"{how}\n"
        "next:\n" + "\n".join(f"  {line}" for line in result["next"])
    )
