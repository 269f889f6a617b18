"""What is wrong with the files that flags name, found without TensorFlow: in a second, before anything is written."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
import pathlib

from autonl_tf import cluster, limits
from autonl_tf.arch import presets
from autonl_tf.arch.cost import check_parameters
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint.description import Description, described, turns_images
from autonl_tf.checkpoint.location import location_of
from autonl_tf.data import facts, imagenet, manifest, signatures
from autonl_tf.data.facts import Facts
from autonl_tf.data.labels import read_label_file
from autonl_tf.data.reading import BadExample, check_bad
from autonl_tf.data.tree import EXTENSIONS, images_below
from autonl_tf.engine.saved import check_present
from autonl_tf.errors import UserError
from autonl_tf.reading import read_json
from autonl_tf.records import RunRecord
from autonl_tf.settings import agreement
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import AUTO
from autonl_tf.settings.recipe import check_micro_batches
from autonl_tf.settings.shared import FIT, check_batches_fit
from autonl_tf.space import around
from autonl_tf.space.space import Space
from autonl_tf.strict_json import plain


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What is known of a command's inputs: `config` with the `listing` of a class folder and what weights say of how
    images are read, the data, and the side of the network's images in pixels."""

    config: Config
    data: Facts | None
    image_size: int | None


def check_inputs(config: Config, weights: str | None, space: Space | None = None) -> Inputs:
    """Looks at the network, the label file, the data, the images and the weights, and whether they fit each other.

    Raises:
      UserError: naming the flag or the file, what is wrong, and what is accepted.
    """
    spec = presets.load(config.arch, config.nonlocal_) if config.arch else None
    if spec and space:
        space.selections_of(spec, f"--arch={config.arch}")
    if config.label_file not in (None, imagenet.NAME):
        read_label_file(config.label_file)
    if config.calibration_dataset:
        facts.calibration_files(config.calibration_dataset)
    data = None
    if config.dataset:
        data, listing = facts.known(config.dataset, config.label_file, config.validation_fraction)
        config = dataclasses.replace(config, listing=listing)
    if data:
        agreement.check_data(config, data)
    if config.images:
        faults = {path: signatures.fault_of(path) for path in matching(config.images)}
        bad = [BadExample(0, path, fault) for path, fault in faults.items() if fault]
        check_bad(bad, len(faults), config.skip_corrupt)
    found = _check_weights(config, weights, spec, space, data) if weights else None
    if weights and config.mode not in FIT and "exif_orientation" not in config.given:
        turned = found.exif_orientation if found else turns_images(location_of(weights))
        config = config.replaced(exif_orientation=turned)
    size = None
    if config.mode not in FIT:
        size = config.input_image_size or (found and found.image_size)
    elif data and (found or not weights):
        size = agreement.image_size(config, data, found)
    if size:
        check_batches_fit(config, size)
    if network := spec or (found and found.spec):
        # Where no size is known, one at which every network fits: the data or the weights will say which.
        check_parameters(
            network,
            image_size=size or config.input_image_size or limits.IMAGE_SIZE[1],
            num_classes=data.num_classes if data else config.num_label_classes or 2,
            depth_multiplier=config.depth_multiplier or (found.depth_multiplier if found else 1.0),
        )
    return Inputs(config, data, size)


def _check_weights(
    config: Config, path: str, spec: NetworkSpec | None, space: Space | None, data: Facts | None
) -> Description | None:
    """Whether there are weights at a path, which fit flags and data; returns how they are described, if they are."""
    assumed = around.architecture(config.search_space) if space else None
    found = described(location_of(path), spec or assumed)
    if found is None:
        return None
    if spec:
        found.check(spec)
    agreement.check_weights(config, found, spec)
    found.check_set(config.use_averages)
    if config.mode not in FIT:
        agreement.classes_of(config, found)
        if data:
            agreement.classes_with(found, data)
    elif space:
        space.selections_of(found.spec.scaled(found.depth_multiplier), found.where)
    return found


def check_run(config: Config) -> None:
    """Whether a training or a search can begin, or go on, in `--model_dir`. Raises UserError."""
    check_micro_batches(config)
    if config.data_service:
        cluster.reach(config.data_service)
    check_apart(config, "model_dir")
    check_directory("model_dir", config.model_dir, parents=True)
    check_present(pathlib.Path(config.model_dir))
    if config.listing:
        _check_files(config)
    check_same_settings(config)


def check_apart(config: Config, name: str) -> None:
    """Whether what a flag says to write would lie among the images that the command, or the next one, reads."""
    directory = config.values[name]
    found = {f"--dataset={config.dataset}": config.listing.directories} if config.listing else {}
    inner, beside = os.path.realpath(directory), set()
    if os.path.isdir(config.images or ""):
        found[f"--images={config.images}"] = [config.images]
    elif config.images:
        beside = {os.path.dirname(os.path.realpath(file)) for file in matching(config.images)}
    for source, directories in found.items():
        if any(os.path.commonpath([outer, inner]) == outer for outer in map(os.path.realpath, directories)):
            raise UserError(f"--{name}={directory}: lies among the images of {source}; choose another directory")
    if inner in beside:
        raise UserError(f"--{name}={directory}: holds images of --images={config.images}; choose another directory")


def _check_files(config: Config) -> None:
    """Whether a run in `--model_dir` began with other files of the class folder."""
    with contextlib.suppress(ValueError):  # a damaged one is told where the images would be checked by it
        if record := manifest.read(config.model_dir):
            splits = [split for split in config.listing.held() if split == "train" or config.mode == "train"]
            entries = config.listing.entries(config.dataset.partition(":")[2])
            now = [entry for split in splits for entry in entries[split]]
            manifest.check_same(config.model_dir, [e for e in record.entries if e.split in splits], now)


def check_same_settings(config: Config) -> None:
    """Whether a run in `--model_dir` was made with other settings, as far as they do not depend on the data."""
    path = pathlib.Path(config.model_dir, "config.json")
    if not path.is_file():
        return
    before = read_json(path, RunRecord, what="what a run is started with")
    found = (None, AUTO)  # what stands for a value that follows from the data or the machine
    now = {
        name: value for name, value in plain(config.read()).items() if value not in found and name in before.comparable
    }
    kept = {name: value for name, value in before.comparable.items() if name in config.values}  # others were dropped
    if other := before.other_setting(kept | now):
        raise UserError(f"{path.parent}: {other}")


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
        reason = f"no file, only directories ({min(found)} first)" if found else "no such file"
        try:
            os.stat(pattern)
        except FileNotFoundError:
            pass
        except OSError as error:
            reason = error.strerror
        raise UserError(f"--images={pattern}: {reason}; accepted: the path of an image, a directory or a glob")
    return files


def check_replaced(flag: str, directory: str) -> None:
    """Raises UserError if a directory is or contains the working directory: the command replaces it as a whole, and the
    calling shell would be left in a deleted directory."""
    inner, outer = os.path.realpath(os.curdir), os.path.realpath(directory)
    if os.path.commonpath([outer, inner]) == outer:
        raise UserError(
            f"--{flag}={directory}: is or contains the working directory, and is replaced as a whole; choose another"
        )


def check_output(config: Config) -> Config:
    """Raises UserError where the file of `--output`, if it is given, cannot be written; else gives the config."""
    path = config.output
    if path is None:
        return config
    folder = pathlib.Path(path).parent
    if not folder.is_dir():
        raise UserError(f"--output={path}: its directory does not exist")
    if pathlib.Path(path).is_dir():
        raise UserError(f"--output={path}: is a directory; accepted: the path of a file to write")
    if not os.access(folder, os.W_OK):
        raise UserError(f"--output={path}: its directory cannot be written")
    return config


def check_directory(flag: str, directory: str, *, parents: bool = False) -> None:
    """Raises UserError, before any work is done, where a directory cannot be made or written."""
    place = pathlib.Path(directory)
    if place.is_symlink() and not place.exists():
        raise UserError(f"--{flag}={directory}: is a link to {os.readlink(place)}, which is not there")
    if place.exists() and not place.is_dir():
        raise UserError(f"--{flag}={directory}: is a file; accepted: a directory")
    above = place if place.is_dir() else place.absolute().parent
    while parents and not above.exists():
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"--{flag}={directory}: cannot be made: {above} is not a directory that can be written")
