"""A fine-tuning by the program's defaults beside a plain script of tf_keras, on your own folder of photographs.

    python benchmarks/plain_fine_tuning.py --dataset=PATH [--size=96] [--epochs=3] [--batch=32] [--seeds=0,1]
        [--work=runs/plain]

PATH holds train/CLASS/ and val/CLASS/. Both start from ImageNet's weights of EfficientNet-Lite0 and see the same images
at the same size, as often. The script is what one writes in ten minutes: Adam at 0.0003 with a cosine, batch norm's
statistics kept, crops of at least half of the area, flips, the central square to validate on. Both are scored at
their end, on val/. Ends in one line of JSON: top-1 in percent by seed.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import tensorflow as tf
import tf_keras as keras
from support.main_py import evaluations, main_py

import autonl_tf
from autonl_tf.data.folder import Listing, list_folder
from autonl_tf.engine.rundir import git_commit, versions
from autonl_tf.errors import UserError

ARCH = "efficientnet_lite0"


def plain(listing: Listing, size: int, epochs: int, batch: int, seed: int) -> float:
    """Top-1 of the script."""
    keras.utils.set_random_seed(seed)

    def images(split: str) -> tf.data.Dataset:
        files = listing.splits[split]
        found = tf.data.Dataset.from_tensor_slices(([file.path for file in files], [file.label for file in files]))
        if split == "train":
            found = found.shuffle(len(files), seed=seed)
        return found.map(lambda file, label: (decoded(file), label))

    def decoded(file):
        return tf.io.decode_image(tf.io.read_file(file), 3, expand_animations=False)

    def cropped(image, label):
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image), tf.zeros([1, 0, 4]), area_range=(0.5, 1), use_image_if_no_bounding_boxes=True
        )
        return tf.image.random_flip_left_right(tf.slice(image, begin, extent)), label

    def central(image, label):
        side = tf.reduce_min(tf.shape(image)[:2])
        return tf.image.resize_with_crop_or_pad(image, side, side), label

    def finished(image, label):
        image = tf.image.resize(image, [size, size], antialias=True)
        return autonl_tf.preprocess_input(image, arch=ARCH), label

    train = images("train").map(cropped).map(finished).batch(batch).prefetch(2)
    base = autonl_tf.from_arch(ARCH, weights="imagenet", include_top=False, pooling="avg", input_shape=(size, size, 3))
    inputs = keras.Input([size, size, 3])
    features = keras.layers.Dropout(0.2)(base(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(len(listing.class_names))(features))
    rate = keras.optimizers.schedules.CosineDecay(3e-4, epochs * len(train))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    model.fit(train, epochs=epochs, verbose=2)
    return 100 * model.evaluate(images("validation").map(central).map(finished).batch(batch), verbose=0)[1]


def ours(root: pathlib.Path, size: int, epochs: int, batch: int, seed: int, work: pathlib.Path) -> float:
    """Top-1 of the program's last evaluation."""
    main_py(
        *("--mode=train", f"--arch={ARCH}", "--init_checkpoint=imagenet", f"--dataset=folder:{root}"),
        *(f"--input_image_size={size}", f"--train_epochs={epochs}", f"--train_batch_size={batch}"),
        *(f"--eval_every_epochs={epochs}", f"--seed={seed}", f"--model_dir={work}"),
    )
    return 100 * evaluations(work)[-1]["values"]["top1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, type=pathlib.Path)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("runs/plain"))
    options = parser.parse_args()
    root, sizes = options.dataset.resolve(), (options.size, options.epochs, options.batch)
    try:
        listing = list_folder(str(root))
    except UserError as error:
        parser.error(str(error))
    work = options.work.resolve() / "_".join(map(str, sizes))
    found: dict[str, dict[str, float]] = {"ours": {}, "plain": {}}
    for seed in map(int, options.seeds.split(",")):
        found["ours"][str(seed)] = round(ours(root, *sizes, seed, work / f"seed{seed}"), 2)
        found["plain"][str(seed)] = round(plain(listing, *sizes, seed), 2)
        print(f"seed {seed}: ours {found['ours'][str(seed)]}, plain {found['plain'][str(seed)]}", flush=True)
    images = len(listing.splits["validation"])
    print(json.dumps({**found, "validation_images": images, "commit": git_commit(), "versions": versions()}))


if __name__ == "__main__":
    main()
