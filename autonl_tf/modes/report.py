"""`--mode=report`: the page and pictures of a finished search made again from its directory, or two compared."""

from __future__ import annotations

import pathlib

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import network_cost
from autonl_tf.config import Config
from autonl_tf.engine.runlog import read_records
from autonl_tf.errors import UserError
from autonl_tf.files import write_text
from autonl_tf.pictures import network as network_picture
from autonl_tf.pictures import report as report_picture
from autonl_tf.pictures import search as search_picture
from autonl_tf.reading import read_json
from autonl_tf.records import AIMED, SearchRecord

ACCOUNT, PAGE, COMPARISON = "search.json", "report.html", "comparison.html"


def run(config: Config) -> None:
    """Writes report.html and the pictures; with `--compare_with` comparison.html too, into `--model_dir`."""
    directory = pathlib.Path(config.run.model_dir)
    account = read_account(directory)
    other = read_account(pathlib.Path(config.run.compare_with)) if config.run.compare_with else None
    names = (config.run.model_dir, config.run.compare_with)
    comparison = _comparison((account, other), names) if other is not None else None
    write_report(directory, account)
    print(f"written: {directory}/{PAGE}, network.png, search.png")
    if comparison is not None:
        write_text(directory / COMPARISON, comparison)
        print(f"written: {directory}/{COMPARISON}")


def _comparison(accounts: tuple[SearchRecord, SearchRecord], names: tuple[str, str]) -> str:
    costs = [account["budget"]["cost"] for account in accounts]
    if costs[0] != costs[1]:
        raise UserError(f"{names[0]} was charged in {costs[0]}, {names[1]} in {costs[1]}: not to be compared")
    return report_picture.comparison_page(accounts, names)


def read_account(directory: pathlib.Path) -> SearchRecord:
    """What a finished search said of itself.

    Raises:
      UserError: no such file, or one that no search of this version wrote.
    """
    path = directory / ACCOUNT
    account = read_json(path, SearchRecord, what="what --mode=search of this version writes")
    if fault := _fault(account, path):
        raise UserError(f"{path}: not what --mode=search of this version writes: {fault}")
    return account


def _fault(account: SearchRecord, path: pathlib.Path) -> str | None:
    """What of an account does not go together."""
    spec = blockstring.parse("\n".join(account["arch"]), str(path))
    kept = [block for block in account["decided_blocks"] if block is not None]
    budget, phases = account["budget"], account["phases"]
    for holds, fault in (
        (kept == account["arch"], "arch is not the decided_blocks"),
        (len(account["blocks"]) == len(list(spec.singles())) + 2, "blocks are not those of arch"),
        (any(block["macs"] for block in account["blocks"]), "blocks have no MACs"),
        (
            all(len(point["gates"]) == len(account["gates"]) for point in account["trajectory"]),
            "a point of trajectory has not the gates",
        ),
        ("target" not in budget or budget.keys() >= AIMED, "budget has a target, but not how it was met"),
        (phases["warmup_end"] <= phases["settle_start"] <= phases["total_steps"], "phases do not ascend"),
    ):
        if not holds:
            return fault
    return None


def write_report(directory: pathlib.Path, account: SearchRecord) -> None:
    """report.html, network.png and search.png of one search. All is read before anything is written.

    Raises:
      UserError: metrics.jsonl is missing, damaged or without records.
    """
    size = {"image_size": account["input_image_size"], "num_classes": account["num_label_classes"]}
    spec = blockstring.parse("\n".join(account["arch"]), f"{directory}/{ACCOUNT}")
    cost, phases = network_cost(spec, **size), account["phases"]
    name = "/".join(directory.absolute().parts[-2:])
    page, found = report_picture.report_page(account, name), report_picture.found_numbers(account)
    search_picture.draw_search(
        read_records(directory / "metrics.jsonl"),
        directory / "search.png",
        warmup_end=phases["warmup_end"],
        settle_start=phases["settle_start"],
        total_steps=phases["total_steps"],
        largest_macs=account["largest_macs"],
        smallest_macs=account["smallest_macs"],
        name=name,
        faint={gate["name"] for gate in account["gates"] if not gate["counts"]},
        found=found,
    )
    numbers = [number for number, place in enumerate(found) if place is not None]
    network_picture.draw_network(
        spec, directory / "network.png", image_size=size["image_size"], cost=cost, name=name, numbers=numbers
    )
    write_text(directory / PAGE, page)
