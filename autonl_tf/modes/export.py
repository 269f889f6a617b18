"""`--mode=export`: a checkpoint to a SavedModel and a TFLite file, each run again and compared with it."""

from __future__ import annotations

import numpy as np

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import network_cost
from autonl_tf.config import Config
from autonl_tf.data import images
from autonl_tf.data.batches import eval_batches
from autonl_tf.engine.evaluate import evaluate
from autonl_tf.engine.strategy import make_strategy
from autonl_tf.export.bundle import SAVED_MODEL, TFLITE_FP32, check_export_dir, export_all
from autonl_tf.modes import checkpointed, wiring

SAMPLES = 32


def run(config: Config) -> None:
    """Exports; with `--dataset` on its validation images and with the accuracy measured, else on made-up images."""
    check_export_dir(config.run.export_dir)
    network = checkpointed.load(config)
    size, padding = network.image_size, network.crop_padding
    accuracy, class_names = None, network.class_names
    if config.data.dataset:
        dataset = wiring.dataset_of(config)
        class_names = network.source.names_for(dataset)
        dataset.check("validation")
        wiring.report_skipped(dataset)
        examples = dataset.examples("validation", shuffle_seed=0).take(SAMPLES)
        batches = eval_batches(dataset, image_size=size, batch_size=config.data.eval_batch_size, crop_padding=padding)
        with wiring.naming_corrupt(dataset, "validation"):
            encoded = [example["image"].numpy() for example in examples]
            scores = evaluate(make_strategy("cpu"), network.model, batches, dataset.size("validation"))
        accuracy = {"dataset": dataset.name, "split": "validation", **scores}
    else:
        wiring.say("no --dataset: verified on made-up images, accuracy not measured")
        encoded = made_up_images(size)
    floats = np.stack([images.preprocess_for_eval(image, size, padding).numpy() for image in encoded])
    cost = network_cost(
        network.spec, image_size=size, num_classes=len(class_names), depth_multiplier=network.depth_multiplier
    ).total
    report = export_all(
        network.model,
        blockstring.write(network.spec),
        config.run.export_dir,
        image_size=size,
        class_names=class_names,
        sample_float_images=floats,
        sample_encoded_images=encoded,
        accuracy=accuracy,
        cost={"macs": cost.macs, "macs_exact": cost.macs_exact, "params": cost.params},
        weights=network.loaded._asdict(),
        depth_multiplier=network.depth_multiplier,
        crop_padding=padding,
    )
    print(table(report))
    print(closing(report))


def made_up_images(size: int, count: int = 8) -> list[bytes]:
    """JPEG files of smooth random colours, `size` pixels wide."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, [count, 8, 8, 3]).astype(np.float32)
    smooth = tf.clip_by_value(tf.image.resize(coarse, [size, size]), 0, 255)
    return [tf.io.encode_jpeg(tf.cast(image, tf.uint8)).numpy() for image in smooth]


def table(report: dict) -> str:
    """What was written, and how far each file's answers are from the checkpoint's."""
    lines = [f"{'file':<22}{'signature':<18}{'images':>6}{'max |dp|':>12}{'logits L2':>12}{'same top-1':>12}"]
    for agreement in report["verification"]["agreements"]:
        logits = agreement["logits_relative_l2"]
        lines.append(
            f"{agreement['artifact']:<22}{agreement['signature']:<18}{agreement['images']:>6}"
            f"{agreement['max_probability_difference']:>12.2e}"
            f"{'-' if logits is None else format(logits, '.2e'):>12}{agreement['top1_agreement']:>12.2%}"
        )
    return "\n".join(lines)


def closing(report: dict) -> str:
    """Where the files are and what the network scores."""
    accuracy = report["accuracy"]
    scores = (
        f"top-1 {accuracy['top1']:.2%}, top-5 {accuracy['top5']:.2%} on {accuracy['count']} images of "
        f"{accuracy['dataset']}"
        if accuracy
        else "not measured (give --dataset)"
    )
    return (
        f"\naccuracy: {scores}\n"
        f"written: {report['export_dir']}/{SAVED_MODEL}, {TFLITE_FP32}, labels.txt, card.md, card.json"
    )
