"""What is wrong with the files that flags name, found without TensorFlow: in a second, before anything is written."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
import pathlib
from typing import Any

from autonl_tf import agreement, cluster, limits
from autonl_tf.arch import presets
from autonl_tf.arch.cost import check_parameters
from autonl_tf.arch.parts import check_trained, named
from autonl_tf.arch.quantizable import check_quantizable
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint.description import Description, check_one_set, described
from autonl_tf.checkpoint.location import check_pytorch, location_of
from autonl_tf.config import AUTO, Config, check_batches_fit
from autonl_tf.data import facts, imagenet, manifest, signatures
from autonl_tf.data.facts import Facts
from autonl_tf.data.labels import read_label_file
from autonl_tf.data.reading import BadExample, check_bad
from autonl_tf.data.tree import EXTENSIONS, images_below
from autonl_tf.engine.saved import check_present
from autonl_tf.errors import UserError
from autonl_tf.export.directory import check_export_dir, check_quantizer
from autonl_tf.reading import read_json
from autonl_tf.records import RunRecord
from autonl_tf.space import around
from autonl_tf.space import space as space_lib
from autonl_tf.space.latency import read_table
from autonl_tf.space.space import Space
from autonl_tf.strict_json import plain


def check(config: Config) -> Config:
    """Looks at what this run's mode reads; returns the config with what has been found of the data.

    Raises:
      UserError: naming the flag or the file, what is wrong, and what is accepted.
    """
    read = config.read_settings()
    mode = config.run.mode
    space = space_lib.load(read["search_space"]) if mode in ("search", "profile") else None
    spec = None
    if mode not in ("describe", "compare") and read.get("arch"):
        spec = presets.load(read["arch"], read.get("nonlocal"))
        _check_parts(read, len(list(spec.singles())))
        if read.get("qat"):
            check_quantizable(spec)
        if space:
            space.selections_of(spec, f"--arch={read['arch']}")
    if mode == "compare" and not all(read["arch"].split(",")):
        raise UserError(f"--arch={read['arch']}: an empty name between commas")
    if read.get("latency_table"):
        read_table(read["latency_table"])
    if read.get("label_file") not in (None, imagenet.NAME):
        read_label_file(read["label_file"])
    if read.get("class_weights") not in (None, "balanced"):
        agreement.class_weight_lines(read["class_weights"])
    if read.get("calibration_dataset"):
        facts.calibration_files(read["calibration_dataset"])
    if mode == "export" and "tflite_int8" in read["formats"]:
        check_quantizer()
    data = None
    if read.get("dataset"):
        data, listing = facts.known(read["dataset"], read["label_file"], read["validation_fraction"])
        config = dataclasses.replace(config, listing=listing)
    if data:
        agreement.check_data(config, data)
    if read.get("images"):
        _check_images(matching(read["images"]), read["skip_corrupt"])
    weights, found = read.get("init_checkpoint"), None
    if mode in ("eval", "predict", "export", "explain"):
        weights = weights or read["model_dir"]
    if weights:
        found = _check_weights(config, weights, spec, space, data)
    _check_sizes(config, spec, space, data, found, bool(weights))
    if mode in ("search", "train"):
        agreement.check_parts_of_batch(config)
        if mode == "search" and config.fit.train_steps is not None:
            agreement.phases(config, config.fit.train_steps)
        if read["data_service"]:
            cluster.reach(read["data_service"])
    _check_outputs(config)
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
    if mode in ("search", "train"):
        check_present(pathlib.Path(read["model_dir"]))
        if config.listing:
            _check_files(config)
    if mode == "convert":
        check_free(read["model_dir"])
    elif mode in ("search", "train", "profile") and not read.get("benchmark_output"):
        _check_run(read)
    return config


def _check_images(files: list[str], skip: bool) -> None:
    faults = {path: signatures.fault_of(path) for path in files}
    bad = [BadExample(0, path, fault) for path, fault in faults.items() if fault]
    check_bad(bad, len(files), skip)


def _check_weights(
    config: Config, path: str, spec: NetworkSpec | None, space: Space | None, data: Facts | None
) -> Description | None:
    """Whether there are weights at a path, which fit flags and data; returns how they are described, if they are."""
    if config.run.from_ == "pytorch" and config.run.mode == "convert":
        check_pytorch(path)
        return None
    assumed = around.architecture(config.search.search_space) if space else None
    found = described(location_of(path), spec or assumed)
    if found is None:
        return None
    if spec:
        found.check(spec)
    agreement.check_weights(config, found, spec)
    if found.format in ("imagenet", "export"):
        check_one_set(found.where, config.run.use_averages)
    if config.run.mode not in ("train", "search"):
        agreement.classes_of(config, found)
        if data:
            agreement.classes_with(found, data)
    elif space:
        space.selections_of(found.spec.scaled(found.depth_multiplier), found.where)
    return found


def _check_sizes(
    config: Config,
    spec: NetworkSpec | None,
    space: Space | None,
    data: Facts | None,
    start: Description | None,
    has_start: bool,
) -> None:
    """Whether the network fits the size of its images, which data and weights may say, and a search its target."""
    mode, classes, size = config.run.mode, config.network.num_label_classes, config.network.input_image_size
    if mode in ("train", "search") and data and (start or not has_start):
        classes, size = data.num_classes, agreement.image_size(config, data, start)
        check_batches_fit(config.data, size)
        if mode == "search":
            agreement.cost_models(config, space, image_size=size, num_classes=classes)
    elif start:
        size = size or start.image_size
    network = spec or (start and start.spec)
    if network:
        # Where no size is known, one at which every network fits: the data or the weights will say which.
        check_parameters(
            network,
            image_size=size or limits.IMAGE_SIZE[1],
            num_classes=classes or 2,
            depth_multiplier=config.network.depth_multiplier or (start.depth_multiplier if start else 1.0),
        )


def _check_outputs(config: Config) -> None:
    """Whether what a run writes would lie among the images that it, or the next one, reads."""
    read = config.read_settings()
    found = {f"--dataset={config.data.dataset}": config.listing.directories} if config.listing else {}
    if os.path.isdir(read.get("images") or ""):
        found[f"--images={read['images']}"] = [read["images"]]
    writing = ("model_dir",) if config.run.mode in ("train", "search") else ("report_dir", "explain_dir", "export_dir")
    for name in filter(read.get, writing):
        for source, directories in found.items():
            inner = os.path.realpath(read[name])
            if any(os.path.commonpath([outer, inner]) == outer for outer in map(os.path.realpath, directories)):
                raise UserError(f"--{name}={read[name]}: lies among the images of {source}; choose another directory")


def _check_files(config: Config) -> None:
    """Whether a run in `--model_dir` began with other files of the class folder."""
    with contextlib.suppress(ValueError):  # a damaged one is told where the images would be checked by it
        if record := manifest.read(config.run.model_dir):
            splits = [split for split in config.listing.held() if split == "train" or config.run.mode == "train"]
            entries = config.listing.entries(config.data.dataset.partition(":")[2])
            now = [entry for split in splits for entry in entries[split]]
            manifest.check_same(config.run.model_dir, [e for e in record.entries if e.split in splits], now)


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


def _check_parts(read: dict[str, Any], blocks: int) -> None:
    """Whether the network of so many blocks has the parts that `--freeze` and `--lr_multipliers` name, not frozen."""
    frozen, rates = read.get("freeze"), read.get("lr_multipliers")
    parts = [part for part, _ in lr_multipliers(rates)] if rates else []
    check_trained(named(frozen), parts, blocks, (f"--freeze={frozen}", f"--lr_multipliers={rates}"))


def matching(pattern: str) -> list[str]:
    """The files of a path or glob (`**` descends), or the images below a directory, sorted.

    Raises:
      UserError: there is none.
    """
    if os.path.isdir(pattern):
        files = [file.path for file in images_below(pattern)[0]]
        if not files:
            raise UserError(f"--images={pattern}: holds no images ({', '.join(EXTENSIONS)})")
    else:
        found = [pattern] if os.path.lexists(pattern) else glob.glob(pattern, recursive=True)
        files = sorted(path for path in found if not os.path.isdir(path))
        for path in files:
            if os.path.exists(path) and not os.path.isfile(path):  # it could be waited on for ever
                raise UserError(f"--images={pattern}: {path} is not a regular file")
    if not files:
        reason = "no such file"
        try:
            os.stat(pattern)
        except FileNotFoundError:
            pass
        except OSError as error:
            reason = error.strerror
        raise UserError(f"--images={pattern}: {reason}; accepted: the path of an image, a directory or a glob")
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
        if part in dict(found):
            raise UserError(f"--lr_multipliers={text}: {part!r} is given twice")
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
