from __future__ import annotations

import io
import tarfile

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from dataset_cases import two_classes, write_labels

from autonl_tf.data import images
from autonl_tf.data.datasets import open_dataset


def test_the_three_readers_give_the_same_tensors_and_labels(
    make_folder, make_imagenet, tiny_pictures, encode, tmp_path
):
    names = ("ant", "bee", "cat")
    pictures = [(encode(i, 50 + 3 * i, 70), names[i % 3]) for i in range(9)]
    pictures.append((encode(20, mode="L"), "ant"))
    pictures.append((encode(21, file_format="PNG"), "cat"))
    folder_root = make_folder({f"train/{name}/{i}.JPEG": data for i, (data, name) in enumerate(pictures)})
    records = [(data, names.index(name) + 1) for data, name in pictures]
    sources = {
        f"folder:{folder_root}": None,
        "imagenet_tfrecord:" + make_imagenet({"train": [records[:5], records[5:]]}): None,
        "tfds:tiny_pictures": tiny_pictures({"train": pictures}),
    }
    labels = write_labels(tmp_path, "\n".join(names))
    found = []
    for name, data_dir in sources.items():
        dataset = open_dataset(name, data_dir=data_dir, label_file=labels, validation_fraction=0)
        rows = []
        for example in dataset.examples("train"):
            image = images.preprocess_for_eval(example["image"], 32).numpy()
            rows.append((image.tobytes(), int(example["label"])))
        assert len(rows) == len(pictures)
        found.append(sorted(rows))
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == len(pictures)


def test_an_epoch_order_is_a_function_of_seed_and_epoch(make_folder):
    dataset = open_dataset("folder:" + make_folder(two_classes()), validation_fraction=0)

    def order(seed, epoch):
        return [e["name"].numpy() for e in dataset.examples("train", shuffle_seed=seed, epoch=epoch)]

    first = order(1, 0)
    tf.random.set_seed(99)
    np.random.seed(3)
    assert order(1, 0) == first
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4
    assert sorted(order(1, 1)) == sorted(first) and len(set(first)) == 40


def synset_names() -> list[str]:
    """The 1000 names in label order, as TFDS ships them."""
    return tfds.builder("imagenet2012").info.features["label"].names


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def test_imagenet_is_the_same_as_synset_folders_tpu_records_and_tfds_archive(
    make_folder, make_imagenet, encode, tmp_path
):
    synsets = synset_names()
    assert synsets == sorted(synsets) and len(synsets) == 1000
    files = {
        ("n01440764", "n01440764_1.JPEG"): encode(0, 90, 70),
        ("n01440764", "n01440764_2.JPEG"): encode(1, mode="L"),
        ("n02105855", "n02105855_7.JPEG"): encode(2, file_format="PNG"),
        ("n02447366", "n02447366_5.JPEG"): encode(3, mode="CMYK"),
        ("n03710637", "n03710637_3.JPEG"): encode(4, 2, 3),
        ("n15075141", "n15075141_1.JPEG"): encode(5, 300, 20, progressive=True),
    }
    # TFDS gives the validation images, in the order of their names, the labels of ImageNet's first ones.
    held_out = {"n01751748": encode(6, mode="L"), "n09193705": encode(7, 70, 30)}
    folder_files = {f"train/{synset}/{name}": data for (synset, name), data in files.items()}
    root = make_folder(folder_files | {f"val/{synset}/1.JPEG": data for synset, data in held_out.items()})
    held_out_records = [(data, synsets.index(synset) + 1) for synset, data in held_out.items()]
    records = [(data, synsets.index(synset) + 1) for (synset, _), data in files.items()]
    manual = tmp_path / "tfds" / "downloads" / "manual"
    manual.mkdir(parents=True)
    archives = {
        f"{synset}.tar": tar_of({name: data for (of, name), data in files.items() if of == synset})
        for synset in sorted({synset for synset, _ in files})
    }
    (manual / "ILSVRC2012_img_train.tar").write_bytes(tar_of(archives))
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2)]
    (manual / "ILSVRC2012_img_val.tar").write_bytes(tar_of(dict(zip(names, held_out.values(), strict=True))))
    labels = write_labels(tmp_path, "".join(f"{synset} some name\n" for synset in synsets))
    found = []
    for name, label_file in (
        (f"folder:{root}", labels),
        (
            "imagenet_tfrecord:"
            + make_imagenet({"train": [records[:2], records[2:]], "validation": [held_out_records]}),
            labels,
        ),
        ("tfds:imagenet2012", None),
    ):
        options = {"data_dir": str(tmp_path / "tfds"), "label_file": label_file, "validation_fraction": 0}
        dataset = open_dataset(name, **options)
        assert dataset.class_names == tuple(synsets)
        dataset.check("train", "validation", least_side=images.least_side(64))
        rows = []
        for example in dataset.examples("train").concatenate(dataset.examples("validation")):
            evaluated = images.preprocess_for_eval(example["image"], 64).numpy()
            trained = images.preprocess_for_train(example["image"], 64, tf.constant([4, 2])).numpy()
            rows.append((int(example["label"]), evaluated.tobytes(), trained.tobytes()))
        found.append(sorted(rows))
    assert found[0] == found[1] == found[2]
    everything = [*held_out, *(synset for synset, _ in files)]
    assert [label for label, *_ in found[0]] == sorted(synsets.index(synset) for synset in everything)
    assert found[0][0][0] == 0 and found[0][-1][0] == 999
