"""`--mode=train`: an architecture and a dataset to a checkpoint, its averages evaluated, the best copy kept."""

from __future__ import annotations

import contextlib
import math
import pathlib

import tensorflow as tf

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint.blocks import blocks_in
from autonl_tf.checkpoint.checkpoint import Checkpoint
from autonl_tf.checkpoint.ours import open_ours, write_model_json
from autonl_tf.commands.train import finetune
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.data.images import normalize
from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.batch_norm import averaged_variables, set_momentum
from autonl_tf.engine.checkpoints import Checkpoints
from autonl_tf.engine.evaluate import Evaluator
from autonl_tf.engine.learner import Learner
from autonl_tf.engine.loop import TrainingResult, run_training
from autonl_tf.engine.mixing import Mixing
from autonl_tf.engine.objectives import classification_objective
from autonl_tf.engine.recalibrate import Recalibration
from autonl_tf.engine.runlog import METRICS, TEST, read_records, told
from autonl_tf.engine.saved import steps_saved
from autonl_tf.engine.strategy import is_chief, per_replica_batch_size
from autonl_tf.layers.precision import precision_scope
from autonl_tf.networks.network import build_network
from autonl_tf.networks.quantized import calibrate, quantized_network
from autonl_tf.prepare import checkpointed, defaults, fit_memory, inputs, machines, rates, run_directory, train_step
from autonl_tf.reading import MOST_LONG, read_text
from autonl_tf.records import ModelRecord
from autonl_tf.settings import agreement
from autonl_tf.settings.config import Config
from autonl_tf.settings.next_commands import OF_CHECKPOINT, beside, next_command
from autonl_tf.streams import say


def run(config: Config) -> None:
    """Trains, from the newest checkpoint of `--model_dir` if it has one, and says what to run next."""
    spec = presets.load(config.arch, config.nonlocal_)
    machines.on_devices(config, lambda strategy: _train(config, strategy, spec))


def _train(config: Config, strategy: tf.distribute.Strategy, spec: NetworkSpec) -> None:
    train_step.check_batches(config, strategy)
    per_replica_batch_size(strategy, config.eval_batch_size, "eval_batch_size")
    dataset = inputs.dataset_of(config)
    start = checkpointed.opened(config, config.init_checkpoint, spec) if config.init_checkpoint else None
    if start:
        agreement.check_weights(config, start, spec)
    config = defaults.resolved(config, dataset, start)
    image_size, padding = config.input_image_size, config.crop_padding
    splits = ("train", "validation", *(("test",) if dataset.has("test") else ()))
    inputs.check_images(config, dataset, image_size, padding, *splits)
    dataset, tested = dataset.tested(config.test_split, config.seed)
    count = dataset.size("train")
    tuned = start is not None and start.format != "search"
    config, before = defaults.completed(config, count, tuned), config
    train_step.check_batches(config, strategy)
    known = blocks_in(start.spec) if start and not start.spec_is_assumed else set()
    added = blocks_in(spec) - known if start else ()
    config = fit_memory.fitted(config, strategy, spec.scaled(config.depth_multiplier), added)
    train_step.check_mixing(config, strategy)
    length = rates.length_of(config, count)
    rates.tell_warmup(config, length)
    weights = finetune.class_weights(config.class_weights, dataset)
    learner, knows = _learner(config, strategy, spec, dataset, length, start)
    files = {"arch.txt": blockstring.write(spec)}
    if config.class_weights not in (None, "balanced"):
        files["class_weights.txt"] = read_text(config.class_weights, MOST_LONG)
    with (
        run_directory.open_run(config, strategy, dataset, splits, files) as directory,
        inputs.naming_corrupt(dataset, *splits, data_service=config.data_service),
    ):
        if is_chief(strategy):
            write_model_json(
                directory.path,
                ModelRecord(
                    arch=blockstring.write(spec),
                    input_image_size=image_size,
                    crop_padding=padding,
                    depth_multiplier=config.depth_multiplier,
                    class_names=dataset.class_names,
                    classes_are_numbered=dataset.classes_are_numbered,
                    dataset=dataset.name,
                    qat=config.qat,
                    exif_orientation=config.exif_orientation,
                ),
            )
        objective = classification_objective(
            learner.model,
            global_batch_size=config.train_batch_size,
            num_micro_batches=train_step.num_micro_batches(config, strategy),
            label_smoothing=config.label_smoothing,
            weight_decay_rate=config.weight_decay,
            light_nl_decay=config.light_nl_decay,
            class_weights=weights,
            mixing=_mixing(config),
        )
        evaluator = Evaluator(strategy, learner.model, jit_compile=train_step.jit_compile(config, strategy))
        pixels = {"image_size": image_size, "crop_padding": padding, "normalization": spec.normalization}
        batches = inputs.evaluation_input(config, strategy, dataset, **pixels)
        measure = None
        if config.recalibrate_batches:
            measure = Recalibration(
                strategy, learner.model, inputs.measuring_input(config, strategy, dataset, **pixels)
            )

        def evaluate():
            with learner.averages.swapped_in(), measure.applied() if measure else contextlib.nullcontext():
                return evaluator(batches, dataset.size("validation"))

        def as_evaluated():
            return measure.in_averages(learner.averages) if measure else contextlib.nullcontext()

        log = run_directory.run_log(config, strategy, length)
        if is_chief(strategy):
            weighed = config.class_weights or not config.listing
            notes = (defaults.told(before, config, count), None if weighed else finetune.unequal(config.listing))
            for note in filter(None, notes):
                say(note)
        outcome = run_training(
            strategy,
            learner,
            train_step.train_function(config, strategy, learner, objective),
            inputs.training_input(config, strategy, dataset, spec.normalization),
            total_steps=length.steps,
            steps_per_loop=config.steps_per_loop,
            log=log,
            checkpoints=Checkpoints(directory.path, learner, say, as_evaluated),
            evaluate=evaluate,
            evaluate_every=length.steps_of(config.eval_every_epochs),
            save_every=config.save_every_steps,
            guessed_loss=math.log(dataset.num_classes),
            start_scores=evaluator(batches, dataset.size("validation")) if knows else None,
            others=machines.others(config, strategy),
            wait_seconds=config.wait_seconds,
        )
        if tested and outcome.best and not read_records(directory.path / METRICS, TEST):
            open_ours(str(directory.path / "best" / f"ckpt-{outcome.best.step}")).load_into(learner.model)
            batches = inputs.evaluation_input(config, strategy, tested, **pixels)
            scores = evaluator(batches, tested.size("validation"))
            log.resume(outcome.step)
            log.write(TEST, outcome.step, {**scores, "of_step": outcome.best.step})
            log.close()
        if is_chief(strategy):
            directory.check("training.png is not drawn")
            _tell(config, directory.path, outcome)


def _learner(
    config: Config,
    strategy: tf.distribute.Strategy,
    spec: NetworkSpec,
    dataset: ImageDataset,
    length: rates.Length,
    start: Checkpoint | None,
) -> tuple[Learner, bool]:
    """The learner, and whether it starts from weights that know the data's classes."""
    knows = False
    with strategy.scope(), precision_scope(config.precision):
        model = build_network(
            spec,
            image_size=config.input_image_size,
            num_classes=dataset.num_classes,
            depth_multiplier=config.depth_multiplier,
            dropout_rate=config.dropout_rate,
            sync_batch_norm=config.sync_batch_norm,
        )
        set_momentum(model, config.batch_norm_momentum)
        # A run that has a checkpoint of its own goes on from that, ranges included.
        begun = bool(steps_saved(pathlib.Path(config.model_dir) / "checkpoints"))
        if start and not begun:
            knows = checkpointed.start_from(start, model, dataset, config.use_averages)
        if config.qat:
            model = quantized_network(model)
            if not begun:
                pixels = inputs.images_for_ranges(config, dataset, config.input_image_size, config.crop_padding)
                calibrate(model, normalize(pixels, spec.normalization).numpy())
        added = start.added_blocks(model, config.use_averages) if start and config.freeze else ()
        for line in finetune.freeze(model, config.freeze, added):
            say(line)
        averages = MovingAverages(averaged_variables(model), config.moving_average_decay)
        groups = finetune.groups(
            model, config.lr_multipliers, lambda factor: rates.weights_optimizer(config, length, factor)
        )
        return Learner(model, groups, averages, update_check=train_step.update_check(config)), knows


def _mixing(config: Config) -> Mixing | None:
    mixing = Mixing(config.mixup_alpha, config.cutmix_alpha, config.random_erasing, config.seed)
    return mixing if mixing.mixes or mixing.random_erasing else None


def _tell(config: Config, directory: pathlib.Path, outcome: TrainingResult) -> None:
    from autonl_tf.pictures.training import draw_training

    metrics = directory / "metrics.jsonl"
    draw_training(read_records(metrics), directory / "training.png", validation=read_records(metrics, "validation"))
    best, model = outcome.best, f"--model_dir={directory}"
    export = [model, f"--output={beside(directory, 'export')}"]
    if config.qat:
        export.append("--formats=tflite_qat")
    commands = [
        next_command(config, mode, *words, without=OF_CHECKPOINT)
        for mode, words in (("eval", [model]), ("export", export))
    ]
    scored = "no copy was kept as best"
    if best:
        evaluations = read_records(metrics, "validation")
        own = next((record for record in evaluations if record["step"] == best.step), {"top1": best.metric})
        shares = {name: own[name] for name in ("top1", "count") if name in own}
        scored = f"best validation {told(shares)}, at step {best.step}"
        scored = "\n".join([scored, *_how_chosen(len(evaluations), read_records(metrics, TEST))])
    print(
        f"trained to step {outcome.step}; {scored}\n"
        f"written: {directory}/{'best, ' if best else ''}checkpoints, metrics.jsonl, training.png, tensorboard\n"
        "next:\n" + "\n".join(f"  {command}" for command in commands)
    )


def _how_chosen(evaluations: int, tests: list[dict]) -> list[str]:
    """What the best validation score is worth, and the score of images that chose nothing, where there is one."""
    lines = []
    if evaluations > 1:
        advice = "" if tests else "; --test_split, or test/ beside val/, scores it on others"
        chosen = f"the best of {evaluations} evaluations on the images that chose it, so it is optimistic"
        lines.append(f"({chosen}{advice})")
    for test in tests[-1:]:
        lines.append(f"test {told({name: test[name] for name in ('top1', 'loss', 'count')})} that chose nothing")
    return lines
