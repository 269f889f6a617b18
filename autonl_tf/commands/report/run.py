"""`--mode=report`: the page and pictures of a finished search made again from its directory, or two compared."""

from __future__ import annotations

import pathlib

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import network_cost
from autonl_tf.checkpoint.location import SPACE
from autonl_tf.engine.runlog import read_records
from autonl_tf.errors import UserError
from autonl_tf.files import exists, write_text
from autonl_tf.pictures import network as network_picture
from autonl_tf.pictures import report as report_picture
from autonl_tf.pictures import search as search_picture
from autonl_tf.reading import MOST_LONG, read_json, read_text
from autonl_tf.records import AIMED, SearchRecord
from autonl_tf.settings.config import Config

RESULT, PAGE, COMPARISON = "search.json", "report.html", "comparison.html"


def run(config: Config) -> None:
    """Writes report.html and the pictures; with `--compare_with` comparison.html too, into `--model_dir`."""
    directory = pathlib.Path(config.model_dir)
    result, comparison = read_result(directory), None
    if config.compare_with:
        names = (config.model_dir, config.compare_with)
        results = (result, read_result(pathlib.Path(config.compare_with)))
        costs = [of["budget"]["cost"] for of in results]
        if costs[0] != costs[1]:
            raise UserError(f"{names[0]} counted {costs[0]}, {names[1]} {costs[1]}: they cannot be compared")
        others = [name for name in (SPACE, "latency_table.json") if _differs(name, *map(pathlib.Path, names))]
        comparison = report_picture.comparison_page(results, names, others)
    write_report(directory, result)
    print(f"written: {directory}/{PAGE}, network.png, search.png")
    if comparison is not None:
        write_text(directory / COMPARISON, comparison)
        print(f"written: {directory}/{COMPARISON}")


def _differs(name: str, first: pathlib.Path, second: pathlib.Path) -> bool:
    """Whether two run directories hold other files of a name, or one of them has none."""
    texts = [read_text(folder / name, MOST_LONG) if exists(folder / name) else None for folder in (first, second)]
    return texts[0] != texts[1]


def read_result(directory: pathlib.Path) -> SearchRecord:
    """What a finished search said of itself.

    Raises:
      UserError: no such file, or one that no search of this version wrote.
    """
    path = directory / RESULT
    result = read_json(path, SearchRecord, what="what --mode=search of this version writes")
    if fault := _fault(result, path):
        raise UserError(f"{path}: not what --mode=search of this version writes: {fault}")
    return result


def _fault(result: SearchRecord, path: pathlib.Path) -> str | None:
    """What is inconsistent in a result; None: nothing."""
    spec = blockstring.parse("\n".join(result["arch"]), str(path))
    kept = [block for block in result["decided_blocks"] if block is not None]
    budget, phases = result["budget"], result["phases"]
    faults = (
        (kept == [blockstring.write_block(block) for block in spec.blocks], "arch is not the decided_blocks"),
        (len(result["blocks"]) == len(list(spec.singles())) + 2, "blocks are not those of arch"),
        (sum(block["macs"] for block in result["blocks"]) == result["macs"] > 0, "macs is not the sum of the blocks'"),
        (
            all(len(point["gates"]) == len(result["gates"]) for point in result["trajectory"]),
            "a point of trajectory lacks gates",
        ),
        ("target" not in budget or budget.keys() >= AIMED, "budget has a target but does not say how it was met"),
        (phases["warmup_end"] <= phases["settle_start"] <= phases["total_steps"], "phases do not ascend"),
    )
    return next((fault for holds, fault in faults if not holds), None)


def write_report(directory: pathlib.Path, result: SearchRecord) -> None:
    """report.html, network.png and search.png of one search. All is read before anything is written.

    Raises:
      UserError: metrics.jsonl is missing, damaged or without records.
    """
    size = {"image_size": result["input_image_size"], "num_classes": result["num_label_classes"]}
    spec = blockstring.parse("\n".join(result["arch"]), f"{directory}/{RESULT}")
    name = "/".join(directory.absolute().parts[-2:])
    page, found = report_picture.report_page(result, name), report_picture.found_numbers(result)
    search_picture.draw_search(
        read_records(directory / "metrics.jsonl"),
        directory / "search.png",
        **result["phases"],
        largest_macs=result["largest_macs"],
        smallest_macs=result["smallest_macs"],
        name=name,
        faint={gate["name"] for gate in result["gates"] if not gate["counts"]},
        found=found,
    )
    numbers = [number for number, own in enumerate(found) if own is not None]
    network_picture.draw_network(network_cost(spec, **size), directory / "network.png", name, numbers)
    write_text(directory / PAGE, page)
