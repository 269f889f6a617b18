"""What a run reports: metrics.jsonl, TensorBoard, and lines for who is watching."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import msgspec
import tensorflow as tf

from autonl_tf import streams
from autonl_tf.errors import UserError, failure_line
from autonl_tf.files import exists, write_text
from autonl_tf.plain_text import CLEAR_LINE
from autonl_tf.records import MetricsRecord
from autonl_tf.strict_json import json_line

METRICS = "metrics.jsonl"
TEST = "test"  # the phase with the score of images that chose nothing
LOST_OUTPUT = "lost_output.txt"
_MOST_LINE = 1 << 20  # bytes; a search of a thousand gates writes 30 KB
_WORDS = {"top1": "top-1 {:.2%}", "top5": "top-5 {:.2%}", "count": "{:.0f} images"}
_PLAIN_SECONDS = 10.0  # at most one plain progress line in this time


class RunLog:
    """The log of a run directory.

    metrics.jsonl holds one JSON object a line, `{"step", "epoch", "phase", "values": {name: number}}`
    with step the updates made, and nothing that depends on the clock: an interrupted and resumed run writes
    the same file as an uninterrupted one. Speed goes to TensorBoard (`DIR/tensorboard`) and to the
    progress line.

    Args:
      images_per_step: the global batch, for images per second.
      is_chief: other processes of a cluster write nothing and show nothing.
      stream: for the progress; rewritten line on a terminal, plain lines elsewhere.
    """

    def __init__(
        self,
        directory: str | Path,
        total_steps: int,
        *,
        images_per_step: int,
        steps_per_epoch: float,
        is_chief: bool = True,
        stream: TextIO | None = None,
    ):
        self.directory = Path(directory)
        self._total_steps = total_steps
        self._images_per_step = images_per_step
        self._steps_per_epoch = steps_per_epoch
        self._chief = is_chief
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._line_open = False
        self._last_plain = -math.inf
        self._loops = 0
        self._seconds_per_step = 0.0
        self._lost = ""
        self._file = None
        self._writer = None

    def resume(self, step: int) -> None:
        """Opens the log to go on behind `step`: later lines, and a last line cut short, are dropped; at 0 all are.

        Raises:
          UserError: a line that is no record, before the last one.
        """
        if not self._chief:
            return
        path = self.directory / METRICS
        recorded = exists(path)
        if recorded and not step and path.stat().st_size:
            self.message("begins anew: an earlier start here was stopped before it had saved a checkpoint")
        kept = _kept_lines(path, step or -1) if recorded else []
        write_text(path, "".join(kept))
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._writer = tf.summary.create_file_writer(str(self.directory / "tensorboard"))

    def write(self, phase: str, step: int, values: dict[str, float]) -> None:
        """One record to metrics.jsonl and TensorBoard (`phase/name`), on disk when this returns.

        Values that are not finite are written as null, JSON having no such number.

        Raises:
          UserError: the file cannot be written (a full disk).
        """
        if not self._chief:
            return
        numbers, epoch = {name: float(value) for name, value in values.items()}, round(step / self._steps_per_epoch, 6)
        record = {"step": step, "epoch": epoch, "phase": phase, "values": numbers}
        try:
            self._file.write(json_line(record) + "\n")
            self._file.flush()
        except OSError as error:
            error.filename = self._file.name
            raise self._unwritable(error) from error
        self._scalars(phase, step, numbers)
        self._note_lost_output(step)

    def progress(self, step: int, seconds: float, steps: int, values: dict[str, float]) -> None:
        """Shows where the run is: `steps` steps up to `step` have just taken `seconds`."""
        if not self._chief:
            return
        now = seconds / max(steps, 1)
        self._loops += 1
        before = self._seconds_per_step
        # The first loop's time is mostly compilation: the second replaces it, later ones are smoothed.
        self._seconds_per_step = now if self._loops <= 2 else 0.8 * before + 0.2 * now
        rate = self._images_per_step / max(self._seconds_per_step, 1e-9)
        self._scalars("speed", step, {"images_per_second": self._images_per_step / max(now, 1e-9)})
        left = format_seconds((self._total_steps - step) * self._seconds_per_step)
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        line = f"step {step}/{self._total_steps} {told(values)} | {speed} images/s, {left} left"
        if self._terminal:
            self._stream.write(CLEAR_LINE)  # by itself, see `plain_text`
            print(line, end="", file=self._stream, flush=True)
            self._line_open = True
        elif step >= self._total_steps or time.monotonic() - self._last_plain >= _PLAIN_SECONDS:
            self._last_plain = time.monotonic()
            print(line, file=self._stream, flush=True)

    def message(self, text: str) -> None:
        """A line of its own."""
        if self._chief:
            self._end_line()
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the progress line and closes the files; the log may be resumed again."""
        self._end_line()
        # What could not be written has been told by `write`; here it would hide that.
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        if self._writer is not None:
            with contextlib.suppress(tf.errors.OpError):
                self._writer.close()
            self._writer = None

    def _end_line(self) -> None:
        if self._line_open:
            print(file=self._stream, flush=True)
            self._line_open = False

    def _note_lost_output(self, step: int) -> None:
        """Says in a file, once, that nobody reads what is shown from here on; the run goes on."""
        lost = "".join(f"{name}: {error.strerror}\n" for name, error in streams.lost().items())
        if lost != self._lost:
            self._lost = lost
            with contextlib.suppress(UserError):  # a full disk is the log's to tell
                write_text(self.directory / LOST_OUTPUT, f"not to be written any more at step {step}:\n{lost}")

    def _scalars(self, phase: str, step: int, values: dict[str, float]) -> None:
        if self._writer is None:
            return
        try:
            with self._writer.as_default():
                for name, value in values.items():
                    tf.summary.scalar(f"{phase}/{name}", value, step=step)
        except tf.errors.OpError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> UserError:
        return UserError(
            f"{self.directory}: the log cannot be written: {failure_line(error)}; the last checkpoint is whole"
        )


def _kept_lines(path: Path, step: int) -> list[str]:
    lines = list(_lines(path))
    try:
        _record(path, len(lines), b"".join(lines[-1:]))
    except UserError:  # the last one is cut short
        del lines[-1:]
    return [line.decode() for number, line in enumerate(lines, start=1) if _record(path, number, line).step <= step]


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            yield from iter(lambda: file.readline(_MOST_LINE), b"")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _record(path: Path, number: int, line: bytes) -> MetricsRecord:
    try:
        if not line.endswith(b"\n"):
            raise ValueError("it has no end")
        return msgspec.json.decode(line.decode(), type=MetricsRecord)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: line {number} is not a record of a run: {error}") from None


def told(values: Mapping[str, float]) -> str:
    """Values for people: shares of right answers in percent, top-1 with its standard error where the number of images
    is known, MACs in millions, others with four digits."""
    words = {name: _told(name, value) for name, value in values.items()}
    if "top1" in values and values.get("count"):
        words["top1"] += f" +- {100 * standard_error(values['top1'], values['count']):.2f}"
    return ", ".join(words.values())


def standard_error(share: float, images: float) -> float:
    """sqrt(p (1 - p) / images) for a share of right answers on so many images. p counts one image more, half of it
    right, so that no share is told as certain."""
    likely = (share * images + 0.5) / (images + 1)
    return math.sqrt(likely * (1 - likely) / images)


def _told(name: str, value: float) -> str:
    if name == "macs":
        return f"{value / 1e6:.4g}M MACs"
    return _WORDS[name].format(value) if name in _WORDS else f"{name.replace('_', '-')} {value:.4g}"


def format_seconds(seconds: float) -> str:
    """`2h05m`, `3m20s`, `12s`."""
    seconds = round(max(seconds, 0.0))
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"


def read_records(metrics: str | Path, phase: str = "train") -> list[dict]:
    """The records of one phase in a run's metrics.jsonl, flattened: {"step", "epoch", name: value}.

    Raises:
      UserError: the file cannot be read, or a line is no record.
    """
    path = Path(metrics)
    records = [_record(path, number, line) for number, line in enumerate(_lines(path), start=1)]
    return [{"step": r.step, "epoch": r.epoch, **r.values} for r in records if r.phase == phase]
