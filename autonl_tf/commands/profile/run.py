"""`--mode=profile`: what every configuration of every block of a space takes on a device, as a table for the search."""

from __future__ import annotations

import itertools
import pathlib
import shlex
import shutil
import time
import zlib
from importlib import resources
from typing import Any

import numpy as np

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.engine import rundir
from autonl_tf.errors import UserError
from autonl_tf.export import pieces as piece_files
from autonl_tf.export import timing
from autonl_tf.files import in_place
from autonl_tf.reading import read_text
from autonl_tf.records import LATENCY_FORMAT, located
from autonl_tf.settings.config import Config
from autonl_tf.settings.next_commands import beside, program
from autonl_tf.signals import Stopped
from autonl_tf.space import around, latency
from autonl_tf.space import space as space_lib
from autonl_tf.streams import say
from autonl_tf.strict_json import write_json

TABLE, PHONE_TABLE, FILES = "latency.json", "latency_phone.json", "files"
WARMUP = 5  # runs of a file before the measured ones
_SAVE_SECONDS = 5.0


class Work:
    """What there is to measure: pieces, and whole networks that calibrate their sum."""

    def __init__(self, config: Config, directory: pathlib.Path):
        self.space = space_lib.load(config.search_space)
        self.image_size = config.input_image_size or around.image_size(config.search_space)
        self.num_classes = config.num_label_classes or presets.DEFAULT_CLASSES
        self.space.check(self.image_size)
        self.files = directory / FILES
        shape = {"image_size": self.image_size, "num_classes": self.num_classes}
        self.pieces = latency.pieces(self.space, **shape)
        # With the extremes: uniform draws alone all come to about the same cost, which fits no line.
        rng = np.random.default_rng(config.seed)
        wanted = config.profile_networks
        drawn = (self.space.random_member(rng) for _ in range(100 * wanted))
        self.networks: dict[str, NetworkSpec] = {}
        for spec in itertools.chain([self.space.largest(), self.space.smallest()], drawn):
            if len(self.networks) < wanted:
                self.networks[_network_key(spec, **shape)] = spec
        self._shape = shape

    @property
    def keys(self) -> list[str]:
        return [*self.pieces, *self.networks]

    def make(self, key: str) -> pathlib.Path:
        """A piece's or network's file, written if it is not there."""
        path = self.files / f"{key}.tflite"
        if not path.exists():
            if key in self.pieces:
                piece_files.write_piece(self.pieces[key], path, num_classes=self.num_classes)
            else:
                piece_files.write_network(self.networks[key], path, **self._shape)
        return path

    def table(
        self, measured: dict[str, dict], device: str, runtime: dict[str, Any], versions: dict[str, str]
    ) -> dict[str, Any]:
        """The table's content; calibrated where all pieces of all networks are there."""
        content = {
            "format": LATENCY_FORMAT,
            "device": device,
            "runtime": runtime,
            "versions": versions,
            "space": self.space.name,
            "input_image_size": self.image_size,
            "num_label_classes": self.num_classes,
            "pieces": {key: measured[key] for key in self.pieces if key in measured},
            "networks": {
                key: {"arch": blockstring.write(spec).splitlines(), **measured[key]}
                for key, spec in self.networks.items()
                if key in measured
            },
        }
        if all(key in measured for key in self.keys):
            keys = [latency.network_keys(spec, **self._shape) for spec in self.networks.values()]
            sums = [sum(measured[key]["median_ms"] for key in own) for own in keys]
            offset, scale = latency.fit(sums, [measured[key]["median_ms"] for key in self.networks])
            content["calibration"] = {"offset_ms": offset, "scale": scale, "networks": len(sums)}
        return content


def _network_key(spec: NetworkSpec, image_size: int, num_classes: int) -> str:
    """A network's key, and its file's name: by its content, so that it never stands for another one."""
    return f"network_{zlib.crc32(f'{blockstring.write(spec)}{image_size} {num_classes}'.encode()):08x}"


def run(config: Config) -> None:
    """Measures what is not in `--model_dir`/latency.json yet; or reads what a phone said, with `--benchmark_output`."""
    directory = pathlib.Path(config.model_dir)
    work = Work(config, directory)
    settings = config.read()
    comparable = {name: value for name, value in settings.items() if name not in ("model_dir", "benchmark_output")}
    comparable = located(comparable) | {"input_image_size": work.image_size, "num_label_classes": work.num_classes}
    if config.benchmark_output:
        _from_phone(work, directory, pathlib.Path(config.benchmark_output))
        return
    device = timing.device()
    runtime = {
        "name": "ai_edge_litert",
        "version": timing.runtime_version(),
        "delegate": "XNNPACK",
        "threads": config.profile_threads,
        "warmup": WARMUP,
        "runs": config.profile_runs,
    }
    found = _measured_before(directory / TABLE, device, runtime)
    measured = {key: found[key] for key in work.keys if key in found}  # others are of another space or --seed
    versions = _makers(directory / TABLE, incomplete=len(measured) < len(work.keys))

    def save() -> None:
        write_json(directory / TABLE, work.table(measured, device, runtime, versions))

    with rundir.prepare(directory, config.values, comparable) as home:
        for note in home.notes:
            say(note)
        script = resources.files("autonl_tf.export") / "phone.sh"
        with resources.as_file(script) as source, in_place(directory / "phone.sh") as aside:
            shutil.copy(source, aside)
        _measure_all(config, work, measured, home.check, save)
    _tell(work, directory / TABLE)


def _measure_all(config: Config, work: Work, measured: dict[str, dict], check, save) -> None:
    left = [key for key in work.keys if key not in measured]
    began = saved = time.monotonic()
    work.files.mkdir(exist_ok=True)
    try:
        for done, key in enumerate(left, start=1):
            check(f"{key} is not measured")
            path = work.make(key)
            measured[key] = timing.measure(
                path, threads=config.profile_threads, warmup=WARMUP, runs=config.profile_runs
            )
            now = time.monotonic()
            if now - saved > _SAVE_SECONDS or done == len(left):
                check(f"{key} is not saved")
                save()
                saved = now
                minutes = (now - began) / done * (len(left) - done) / 60
                count, median = f"{len(measured)} of {len(work.keys)}", measured[key]["median_ms"]
                say(f"{count}: {key} {median:.3f} ms, {minutes:.1f} min left")
    except (KeyboardInterrupt, Stopped):
        if measured:
            save()
        raise
    if not left:
        save()


def _measured_before(path: pathlib.Path, device: str, runtime: dict[str, Any]) -> dict[str, dict]:
    """What an earlier start measured. Raises UserError if that was on another device or runtime."""
    if not path.exists():
        return {}
    content = latency.read_table(path).content
    for name, now in (("device", device), ("runtime", runtime)):
        if content[name] != now:
            raise UserError(f"{path}: measured with {name} {content[name]}, now {now}; choose another --model_dir")
    networks = {
        key: {name: value for name, value in times.items() if name != "arch"}
        for key, times in content.get("networks", {}).items()
    }
    return {**content["pieces"], **networks}


def _makers(path: pathlib.Path, incomplete: bool = False) -> dict[str, str]:
    """The versions that made the files of the table at `path`, or the current ones if there is none. Raises UserError
    if it is `incomplete` and the versions differ, since old and new files would be mixed."""
    now = rundir.versions()
    versions = (latency.read_table(path).content.get("versions") if path.exists() else None) or now
    for name, then in versions.items() if incomplete else ():
        if name in ("autonl_tf", "tensorflow", "tf_keras") and then != now[name]:
            raise UserError(f"{path}: files made by {name} {then}, now {now[name]}; choose another --model_dir")
    return versions


def _from_phone(work: Work, directory: pathlib.Path, output: pathlib.Path) -> None:
    missing = [key for key in work.keys if not (output / f"{key}.txt").is_file()]
    if missing:
        raise UserError(
            f"--benchmark_output={output}: lacks {len(missing)} of {len(work.keys)} results, the first "
            f"{missing[0]}.txt; finish the profile here, which makes the files, and run phone.sh again; or give the "
            "flags that the files were made with"
        )
    named = [output / name for name in ("device.txt", "settings.txt")]
    device, settings = (read_text(path).strip() if path.exists() else "" for path in named)
    warmed_up = "warmup=0" not in settings.split()
    texts = {key: output / f"{key}.txt" for key in work.keys}
    measured = {
        key: timing.parse_benchmark_output(read_text(path), str(path), warmed_up=warmed_up)
        for key, path in texts.items()
    }
    versions = _makers(directory / TABLE)
    runtime = {"name": "benchmark_model", "delegate": "XNNPACK", "settings": settings or "unknown"}
    if not directory.exists():  # what is no directory is told by the writing
        directory.mkdir(parents=True)
    write_json(directory / PHONE_TABLE, work.table(measured, device or "unknown", runtime, versions))
    _tell(work, directory / PHONE_TABLE)


def _tell(work: Work, path: pathlib.Path) -> None:
    table = latency.read_table(path)
    content = table.content
    low, high = table.cost_model(work.space, image_size=work.image_size, num_classes=work.num_classes).reachable()
    wide = [(v.get("p95_ms", np.nan) - v.get("p5_ms", np.nan)) / v["median_ms"] for v in content["pieces"].values()]
    calibration = content["calibration"]
    flags = [
        *("--mode=search", "--dataset=folder:PATH", f"--model_dir={beside(path.parent, 'search')}"),
        *(f"--search_space={work.space.name}", f"--input_image_size={work.image_size}", "--cost=latency"),
        *(f"--latency_table={path}", f"--target_latency_ms={(low * high) ** 0.5:.5g}"),
    ]
    print(
        f"{len(content['pieces'])} pieces on {content['device']}; median spread (p5 to p95): {np.median(wide):.0%} of "
        "a piece's time\n"
        f"calibrated by {calibration['networks']} networks: {calibration['offset_ms']:+.3f} ms + "
        f"{calibration['scale']:.3f} x sum\n"
        f"the space's networks: {low:.3f} to {high:.3f} ms\n"
        f"written: {path}; files for a phone: {work.files}, {work.files.parent}/phone.sh\n"
        "next: a search, with your images, and with a target between the two\n"
        f"  {program()} {shlex.join(flags)}"
    )
