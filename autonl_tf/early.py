"""What is wrong with the files that flags name, found without TensorFlow: in a second, before anything is written."""

from __future__ import annotations

import glob
import os
import pathlib
import re

from autonl_tf import limits
from autonl_tf.arch import presets
from autonl_tf.arch.cost import check_parameters
from autonl_tf.arch.parts import blocks_of
from autonl_tf.config import AUTO, Config
from autonl_tf.data import imagenet
from autonl_tf.data.labels import read_label_file
from autonl_tf.data.tree import folders, images_below
from autonl_tf.errors import UserError
from autonl_tf.export.directory import check_export_dir
from autonl_tf.reading import MOST_LONG, Unreadable, read_json, read_text
from autonl_tf.records import RunRecord
from autonl_tf.space import space as space_lib
from autonl_tf.space.latency import read_table
from autonl_tf.strict_json import plain

_DATASETS = "demo, demo:texture, folder:PATH, tfds:NAME, imagenet_tfrecord:PATH"


def check(config: Config) -> None:
    """Looks at what this run's mode reads.

    Raises:
      UserError: naming the flag or the file, what is wrong, and what is accepted.
    """
    read = config.read_settings()
    mode = config.run.mode
    space = space_lib.load(read["search_space"]) if mode in ("search", "profile") else None
    if mode not in ("describe", "compare") and read.get("arch"):
        spec = presets.load(read["arch"], read.get("nonlocal"))
        _check_parts(read, len(list(spec.singles())))
        # Where no size is given, one at which every network fits: the data or the checkpoint will say which.
        sizes = {"num_classes": read["num_label_classes"] or 2, "depth_multiplier": read.get("depth_multiplier") or 1.0}
        check_parameters(spec, image_size=read["input_image_size"] or limits.IMAGE_SIZE[1], **sizes)
        if space:
            space.selections_of(spec, f"--arch={read['arch']}")
    if mode == "compare" and not all(read["arch"].split(",")):
        raise UserError(f"--arch={read['arch']}: an empty name between commas")
    if read.get("latency_table"):
        read_table(read["latency_table"])
    if read.get("label_file") not in (None, imagenet.NAME):
        read_label_file(read["label_file"])
    if read.get("class_weights") not in (None, "balanced"):
        class_weight_lines(read["class_weights"])
    for name in ("dataset", "calibration_dataset"):
        if read.get(name):
            _check_dataset(name, read[name])
    if read.get("images"):
        matching(read["images"])
    if read.get("init_checkpoint"):
        _check_checkpoint("init_checkpoint", read["init_checkpoint"])
    elif mode in ("eval", "predict", "export", "explain"):
        _check_checkpoint("model_dir", read["model_dir"])
    if read.get("query_points"):
        query_points(read["query_points"])
    if read.get("predictions_out"):
        check_output(read["predictions_out"])
    for name in ("model_dir", "compare_with"):
        if mode == "report" and read.get(name) and not os.path.isfile(os.path.join(read[name], "search.json")):
            found = "no search.json: not the run directory of a finished search"
            raise UserError(f"--{name}={read[name]}: {found if os.path.isdir(read[name]) else 'no such directory'}")
    if read.get("benchmark_output") and not os.path.isdir(read["benchmark_output"]):
        raise UserError(f"--benchmark_output={read['benchmark_output']}: no such directory")
    for name in ("report_dir", "explain_dir"):
        if read.get(name):
            check_directory(name, read[name])
    if read.get("export_dir"):
        check_directory("export_dir", read["export_dir"], parents=True)
        check_export_dir(read["export_dir"])
    if mode in ("search", "train", "profile", "convert"):
        check_directory("model_dir", read["model_dir"], parents=True)
    if mode == "convert":
        check_free(read["model_dir"])
    elif mode in ("search", "train", "profile") and not read.get("benchmark_output"):
        _check_run(read)


def _check_dataset(flag: str, name: str) -> None:
    kind, _, place = name.partition(":")
    if name in ("demo", "demo:texture") or (kind == "tfds" and place):
        return
    if kind not in ("folder", "imagenet_tfrecord") or not place:
        meant = f"; did you mean folder:{name}?" if os.path.isdir(name) else ""
        raise UserError(f"--{flag}: unknown data set {name!r}{meant}; accepted: {_DATASETS}")
    if "://" in place:
        return
    if not os.path.isdir(place):
        raise UserError(f"--{flag}={name}: no such directory")
    if kind == "folder" and flag == "dataset" and not folders(place):
        raise UserError(
            f"--{flag}={name}: holds no class folders; accepted: a folder a class, or train/ and val/ of such"
        )
    if kind == "imagenet_tfrecord" and not any(
        re.match(r"(train|validation)-\d+-of-\d+", f) for f in os.listdir(place)
    ):
        raise UserError(f"--{flag}={name}: no files named like train-00000-of-01024 or validation-00000-of-00128")


def _check_checkpoint(flag: str, path: str) -> None:
    """Whether anything is there that may be a checkpoint: what it is, `checkpoint.opening` says."""
    place = pathlib.Path(path)
    if path == imagenet.NAME or place.is_file():
        return
    patterns = ("*.index", "*/*.index", "card.json", "saved_model.pb") if place.is_dir() else ()
    if any(any(place.glob(pattern)) for pattern in patterns) or glob.glob(f"{glob.escape(path)}.*"):
        return
    raise UserError(
        f"--{flag}={path}: no checkpoint there; accepted: a run directory, a prefix such as DIR/best/ckpt-100 or "
        "DIR/bestmodel.ckpt, or a file of weights"
    )


def _check_run(read: dict[str, object]) -> None:
    """Whether a run in `--model_dir` was made with other settings, as far as they do not depend on the data."""
    path = pathlib.Path(str(read["model_dir"]), "config.json")
    if not path.is_file():
        return
    before = read_json(path, RunRecord, what="what a run is started with")
    found = (None, AUTO)  # what stands for a value that follows from the data or the machine
    now = {name: value for name, value in plain(read).items() if value not in found and name in before.comparable}
    if other := before.other_setting(before.comparable | now):
        raise UserError(f"{path.parent}: {other}")


def _check_parts(read: dict[str, object], blocks: int) -> None:
    """Whether the network of so many blocks has the parts that `--freeze` and `--lr_multipliers` name."""
    frozen, rates = read.get("freeze"), read.get("lr_multipliers")
    named = {"freeze": str(frozen).split(",") if frozen else [], "lr_multipliers": []}
    if rates:
        named["lr_multipliers"] = [part for part, _ in lr_multipliers(rates)]
    for flag, parts in named.items():
        for part in parts:
            blocks_of(part, blocks, f"--{flag}={read[flag]}")


def matching(pattern: str) -> list[str]:
    """The files of a path or glob (`**` descends), or the images below a directory, sorted.

    Raises:
      UserError: there is none.
    """
    if os.path.isdir(pattern):
        files = [file.path for file in images_below(pattern)[0]]
    else:
        found = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
        files = sorted(path for path in found if os.path.isfile(path))
    if not files:
        raise UserError(f"--images={pattern}: no such file; accepted: the path of an image, a directory or a glob")
    return files


def check_output(path: str) -> None:
    """Raises UserError, before any work is done, where no file can be written."""
    folder = pathlib.Path(path).parent
    if not folder.is_dir():
        raise UserError(f"--predictions_out={path}: its directory does not exist")
    if pathlib.Path(path).is_dir():
        raise UserError(f"--predictions_out={path}: is a directory; accepted: the path of a file to write")
    if not os.access(folder, os.W_OK):
        raise UserError(f"--predictions_out={path}: its directory cannot be written")


def check_directory(flag: str, directory: str, *, parents: bool = False) -> None:
    """Raises UserError, before any work is done, where a directory cannot be made or written.

    Args:
      parents: whether those above are made too.
    """
    place = pathlib.Path(directory)
    if place.exists() and not place.is_dir():
        raise UserError(f"--{flag}={directory}: is a file; accepted: a directory")
    above = place if place.is_dir() else place.absolute().parent
    while parents and not above.exists():
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"--{flag}={directory}: cannot be made: {above} is not a directory that can be written")


def check_free(directory: str) -> None:
    """Raises UserError unless `--model_dir` of convert is absent, or an empty directory."""
    target = pathlib.Path(directory)
    if target.is_dir():
        if held := sorted(child.name for child in target.iterdir()):
            raise UserError(f"--model_dir={directory}: holds {held[0]}; convert writes a new or an empty directory")
    elif target.exists():
        raise UserError(f"--model_dir={directory}: is a file; convert writes a new or an empty directory")


def lr_multipliers(text: str) -> list[tuple[str, float]]:
    """`backbone:0.1,logits:2` to [(part, factor), ...]. Raises UserError where it is not that."""
    found = []
    for entry in text.split(","):
        part, _, number = entry.partition(":")
        try:
            factor = float(number)
        except ValueError:
            factor = 0.0
        if not part or not 1e-6 <= factor <= 1000:
            raise UserError(f"--lr_multipliers={text}: {entry!r} is not PART:FACTOR; accepted: factors of 1e-6 to 1000")
        found.append((part, factor))
    return found


def query_points(text: str) -> list[tuple[float, float]]:
    """`0.5:0.5,0.25:0.75` to [(x, y), ...]. Raises UserError where it is not that."""
    points = []
    for part in text.split(","):
        x, _, y = part.partition(":")
        try:
            point = float(x), float(y)
        except ValueError:
            point = None
        if point is None or not all(0 <= value <= 1 for value in point):
            raise UserError(f"--query_points={text}: {part!r} is not X:Y; accepted: shares from 0 to 1")
        points.append(point)
    if len(points) > 64:
        raise UserError(f"--query_points: {len(points)} points; accepted: at most 64")
    return points


def class_weight_lines(path: str) -> dict[int, tuple[str, float]]:
    """The lines CLASS WEIGHT of a file of `--class_weights`, by their number.

    Raises:
      UserError: the file cannot be read, or a line is another.
    """
    try:
        lines = read_text(path, MOST_LONG).splitlines()
    except Unreadable as error:
        raise UserError(
            f"--class_weights={path}: {error.reason}; accepted: balanced, or a file of lines CLASS WEIGHT"
        ) from None
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, text = line.strip().rpartition(" ")
        try:
            weight = float(text)
        except ValueError:
            weight = 0.0
        if not 1e-6 <= weight <= 1e6 or not name.strip():
            raise UserError(
                f"--class_weights={path}, line {number}: {line!r} is not CLASS WEIGHT, a number from 1e-6 to 1e6"
            )
        found[number] = (name, weight)
    return found
