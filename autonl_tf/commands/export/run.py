"""`--mode=export`: a checkpoint to a SavedModel and TFLite files, each run again and compared with it."""

from __future__ import annotations

import pathlib
from collections import Counter

import numpy as np
import tensorflow as tf

from autonl_tf.data import imagenet, images
from autonl_tf.data.batches import eval_batches
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.data.example_order import PROCESSORS
from autonl_tf.data.other_kinds import readable_in_graph
from autonl_tf.engine.evaluate import Evaluator
from autonl_tf.engine.runlog import METRICS, TEST, read_records, standard_error, told
from autonl_tf.engine.strategy import make_strategy
from autonl_tf.export import card
from autonl_tf.export.bundle import Request, export_all
from autonl_tf.prepare import checkpointed, inputs, left_out
from autonl_tf.records import CARD_JSON, same_setting
from autonl_tf.settings import agreement
from autonl_tf.settings.config import Config
from autonl_tf.streams import say

SAMPLES = 32


def run(config: Config) -> None:
    """Exports; with `--dataset` on its validation images and with the accuracy measured, else on made-up images."""
    network = checkpointed.load(config)
    size, padding = network.image_size, network.crop_padding
    accuracy, dataset, class_names = None, None, network.class_names
    if config.dataset:
        dataset = inputs.dataset_of(config)
        class_names = agreement.classes_with(network.checkpoint, dataset)
        inputs.check_images(config, dataset, size, padding, "validation")
    calibration = inputs.images_for_ranges(config, dataset, size, padding) if "tflite_int8" in config.formats else None
    if dataset:
        examples = dataset.examples("validation", shuffle_seed=0).take(SAMPLES)
        batches = eval_batches(dataset, batch_size=config.eval_batch_size, **network.pixels)
        with inputs.naming_corrupt(dataset, "validation"):
            encoded = [readable_in_graph(example["image"].numpy(), dataset.reading) for example in examples]
            accuracy = {"dataset": dataset.name, "split": "validation", **_scores(network, batches, dataset)}
        seen = left_out.seen_by_run(network.run, dataset, "validation")
        left_out.tell_share(config, seen, network.run, dataset)
        accuracy |= _how_chosen(network, dataset, seen)
    else:
        say("no --dataset: verified on made-up images, accuracy not measured")
        encoded = made_up_images(size)
    unnamed = not config.label_file and (dataset is None or dataset.classes_are_numbered)
    numbered = network.checkpoint.classes_are_numbered and unnamed
    data = {"trained_on": network.checkpoint.trained_on or "not known"}
    if calibration is not None:
        data["int8_ranges"] = f"{len(calibration)} images of {config.calibration_dataset or config.dataset}"
    description = card.Description(
        network.spec,
        size,
        tuple(imagenet.titled(name) for name in class_names),
        classes_are_numbered=numbered,
        accuracy=accuracy,
        weights=network.loaded._asdict(),
        data=data,
        depth_multiplier=network.depth_multiplier,
        crop_padding=padding,
        reading=inputs.reading_of(config),
    )
    report = export_all(
        network.float_model,
        description,
        config.output,
        encoded,
        Request(
            formats=config.formats,
            tflite_input=config.tflite_input,
            calibration_images=calibration,
            quantized=None if network.model is network.float_model else network.model,
            held_out=_held_out(dataset, size, padding, config.eval_batch_size) if dataset else None,
            max_accuracy_drop=config.max_accuracy_drop,
        ),
    )
    print(table(report))
    print(closing(report))


def _scores(network: checkpointed.Checkpointed, batches: tf.data.Dataset, dataset: ImageDataset) -> dict:
    """The network's; of one trained with --qat those of its float weights, and beside them its own."""
    count, strategy = dataset.size("validation"), make_strategy("cpu")
    scores = Evaluator(strategy, network.float_model)(batches, count)
    scores["top1_standard_error"] = standard_error(scores["top1"], count)
    if network.model is network.float_model:
        return scores
    own = Evaluator(strategy, network.model)(batches, count)
    del own["count"]
    return {
        "of": "the float32 weights; quantized_: as trained with --qat, int8 simulated",
        **scores,
        **{f"quantized_{name}": value for name, value in own.items()},
    }


def _how_chosen(network: checkpointed.Checkpointed, dataset: ImageDataset, seen: Counter[str]) -> dict[str, object]:
    """For the card, where the run was trained on these images, or they have chosen its checkpoint among several: that
    it is so, and the score of others. `seen` is what `left_out.seen_by_run` counts."""
    if said := left_out.trained_on(seen, dataset, "validation"):
        return {"trained_on": said}
    best = pathlib.Path(network.loaded.prefix).parent
    if best.name != "best" or not (
        seen["validation"] or same_setting("dataset", network.checkpoint.trained_on, dataset.name)
    ):
        return {}
    metrics = best.parent / METRICS
    if len(read_records(metrics, "validation")) < 2:
        return {}
    tests = [test for test in read_records(metrics, TEST) if test["of_step"] == network.loaded.step]
    chosen = "the best of its run's evaluations on these images, so its score is optimistic"
    if not tests:
        return {"chosen": f"{chosen}; no others were scored (--test_split)"}
    return {"chosen": f"{chosen}; test_: on images that chose nothing"} | {
        f"test_{name}": tests[-1][name] for name in ("top1", "loss", "count")
    }


def _held_out(dataset: ImageDataset, size: int, padding: int, batch_size: int) -> tf.data.Dataset:
    """Every validation image once: (float32 [B, S, S, 3] in the scale of 0 to 255, labels [B])."""

    def prepare(example):
        return images.preprocess_for_eval(example["image"], size, padding, dataset.reading), example["label"]

    return dataset.examples("validation").map(prepare, PROCESSORS).batch(batch_size).prefetch(1)


def made_up_images(size: int) -> list[bytes]:
    """Eight JPEG files of smooth random colours, `size` pixels wide."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, [8, 8, 8, 3]).astype(np.float32)
    smooth = tf.clip_by_value(tf.image.resize(coarse, [size, size]), 0, 255)
    return [tf.io.encode_jpeg(tf.cast(image, tf.uint8)).numpy() for image in smooth]


def table(report: dict) -> str:
    """What was written: how far from the checkpoint what should equal it is, and what every TFLite file scores."""
    lines = []
    if report["verification"]["agreements"]:
        lines.append(f"{'file':<22}{'signature':<18}{'images':>6}{'max |dp|':>12}{'logits L2':>12}{'same top-1':>12}")
    for compared in report["verification"]["agreements"]:
        logits = compared["logits_relative_l2"]
        lines.append(
            f"{compared['artifact']:<22}{compared['signature']:<18}{compared['images']:>6}"
            f"{compared['max_probability_difference']:>12.2e}"
            f"{'-' if logits is None else format(logits, '.2e'):>12}{compared['top1_agreement']:>12.2%}"
        )
    scores = report["scores"]["files"]
    if scores:
        lines += [""] * bool(lines)
        lines.append(
            f"{'file':<20}{'MB':>7}{'images':>8}{'top-1':>9}{'drop':>14}{'same top-1':>12}{'worst logit error':>19}"
            f"{'CPU delegate':>14}"
        )
    for row in scores:
        known = row["top1"] is not None
        drop = f"{row['drop_points']:.2f} +- {row['drop_standard_error']:.2f}" if known else "-"
        artifact = report["artifacts"][row["artifact"]]
        whole = "whole" if artifact["xnnpack_whole"] else f"{artifact['xnnpack_partitions']} partitions"
        lines.append(
            f"{row['artifact']:<20}{report['files'][row['artifact']]['bytes'] / 1e6:>7.2f}{row['images']:>8}"
            f"{format(row['top1'], '.2%') if known else '-':>9}{drop:>14}"
            f"{row['top1_agreement']:>12.2%}{row['worst_logit_error']:>19.2e}{whole:>14}"
        )
    lines += card.quantized_lines(scores)
    return "\n".join(lines)


def closing(report: dict) -> str:
    """Where the files are and what the network scores."""
    accuracy = report["accuracy"]
    files = [*report["artifacts"], *report["files"], CARD_JSON]
    written = dict.fromkeys(name.split("/")[0] for name in files)
    scores = (
        f"{told({name: accuracy[name] for name in ('top1', 'top5', 'count') if name in accuracy})} of "
        f"{accuracy['dataset']}"
        if accuracy
        else "not measured (give --dataset)"
    )
    if accuracy and "quantized_top1" in accuracy:
        scores += f", of the float32 weights; as trained, int8 simulated: top-1 {accuracy['quantized_top1']:.2%}"
    return f"\naccuracy: {scores}\nwritten: {report['export_dir']}/{', '.join(written)}"
