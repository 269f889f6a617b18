"""`--mode=report`: the page and pictures of a finished search made again from its directory, or two compared."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import network_cost
from autonl_tf.config import Config
from autonl_tf.engine.files import read_json
from autonl_tf.engine.runlog import read_records
from autonl_tf.errors import UserError, first_line
from autonl_tf.pictures import network as network_picture
from autonl_tf.pictures import report as report_picture
from autonl_tf.pictures import search as search_picture

ACCOUNT, PAGE, COMPARISON = "search.json", "report.html", "comparison.html"
_NEEDED = (
    *("budget", "decided_blocks", "close_calls", "trajectory", "next", "gates", "blocks", "phases", "settings"),
    *("arch", "input_image_size", "num_label_classes", "macs", "params", "largest_macs", "smallest_macs"),
    *("versions", "git_commit"),
)


def run(config: Config) -> None:
    """Writes report.html and the pictures; with `--compare_with` comparison.html too, into `--model_dir`."""
    directory = pathlib.Path(config.run.model_dir)
    account = read_account(directory)
    other = read_account(pathlib.Path(config.run.compare_with)) if config.run.compare_with else None
    names = (config.run.model_dir, config.run.compare_with)
    comparison = _comparison((account, other), names) if other is not None else None
    try:
        with _telling_damage(directory):
            write_report(directory, account)
        print(f"written: {directory}/{PAGE}, network.png, search.png")
        if comparison is not None:
            report_picture.write_page(comparison, directory / COMPARISON)
            print(f"written: {directory}/{COMPARISON}")
    except OSError as error:
        raise UserError(f"{error.filename or directory}: cannot be written: {error.strerror}") from error


def _comparison(accounts: tuple[dict, dict], names: tuple[str, str]) -> str:
    with _telling_damage(*map(pathlib.Path, names)):
        costs = [account["budget"]["cost"] for account in accounts]
        if costs[0] != costs[1]:
            raise UserError(f"{names[0]} was charged in {costs[0]}, {names[1]} in {costs[1]}: not to be compared")
        return report_picture.comparison_page(accounts, names)


@contextlib.contextmanager
def _telling_damage(*directories: pathlib.Path) -> Iterator[None]:
    """Nothing but files of a search is read here: what cannot be shown is theirs, an older version's or edited."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        files = " or ".join(f"{directory}/{ACCOUNT}" for directory in directories)
        raise UserError(
            f"{files}, or metrics.jsonl beside it: cannot be shown ({type(error).__name__}: {first_line(error)}); "
            "accepted: what --mode=search of this version writes"
        ) from error


def read_account(directory: pathlib.Path) -> dict:
    """What a finished search said of itself.

    Raises:
      UserError: no finished search there, or one of a version that kept less.
    """
    path = directory / ACCOUNT
    if not path.is_file():
        raise UserError(f"{directory}: no {ACCOUNT}: not the run directory of a finished search")
    account = read_json(path)
    if lacking := [name for name in _NEEDED if name not in account]:
        raise UserError(f"{path}: lacks {', '.join(lacking)}; accepted: what --mode=search of this version writes")
    return account


def write_report(directory: pathlib.Path, account: dict) -> None:
    """report.html, network.png and search.png of one search. All is read before anything is written.

    Raises:
      UserError: metrics.jsonl is missing, damaged or without records.
    """
    size = {"image_size": account["input_image_size"], "num_classes": account["num_label_classes"]}
    spec = blockstring.parse("\n".join(account["arch"]), f"{directory}/{ACCOUNT}")
    cost, phases = network_cost(spec, **size), account["phases"]
    page = report_picture.report_page(account, directory.absolute().name)
    search_picture.draw_search(
        read_records(directory / "metrics.jsonl"),
        directory / "search.png",
        warmup_end=phases["warmup_end"],
        settle_start=phases["settle_start"],
        total_steps=phases["total_steps"],
        largest_macs=account["largest_macs"],
        smallest_macs=account["smallest_macs"],
    )
    network_picture.draw_network(spec, directory / "network.png", image_size=size["image_size"], cost=cost)
    report_picture.write_page(page, directory / PAGE)
