"""How well a latency table predicts whole networks: random members of its space, measured on the device it was made on.

The table's own calibration comes from other networks. Prints predicted and measured milliseconds of every member; ends
in one line of JSON with the mean, median and largest relative error, calibrated and not.

    python benchmarks/latency_prediction.py [--table=runs/profile/latency.json] [--space=demo] [--members=30] [--seed=1]

Without `--table`, where the default is not there, it says how to make it and ends well.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

from autonl_tf.arch import blockstring
from autonl_tf.errors import UserError
from autonl_tf.export.pieces import write_network
from autonl_tf.export.timing import device, measure
from autonl_tf.space import latency
from autonl_tf.space import space as space_lib

TABLE = pathlib.Path("runs/profile/latency.json")
MAKE = (
    "python main.py --mode=profile --search_space=demo --input_image_size=64 --num_label_classes=8 "
    "--model_dir=runs/profile"
)
_RUNTIME = ("threads", "warmup", "runs")


def checked(path: pathlib.Path, space: space_lib.Space) -> tuple[latency.LatencyTable, dict]:
    """A table and its file's content. Raises UserError for one that cannot be compared with networks measured here."""
    table = latency.read_table(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    if data["device"] != device():
        raise UserError(f"{path}: measured on {data['device']}, this is {device()}; accepted: a table made here")
    runtime, networks = data["runtime"], data.get("networks")
    if not isinstance(runtime, dict) or not all(isinstance(runtime.get(name), int) for name in _RUNTIME):
        raise UserError(f"{path}: runtime: lacks {', '.join(_RUNTIME)} as --mode=profile writes them")
    if not networks or not all("arch" in network for network in networks.values()):
        raise UserError(f"{path}: networks: lacks the networks that calibrated it")
    table.cost_model(space, image_size=table.image_size, num_classes=table.num_classes)  # says what it lacks
    return table, data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=pathlib.Path)
    parser.add_argument("--space", default="demo")
    parser.add_argument("--members", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.table is None and not TABLE.exists():
        print(f"{TABLE} is not there; it is made by: {MAKE}")
        return
    try:
        space = space_lib.load(options.space)
        table, data = checked(options.table or TABLE, space)
    except UserError as error:
        sys.exit(f"error: {error}")
    shape = {"image_size": table.image_size, "num_classes": table.num_classes}
    used = [network["arch"] for network in data["networks"].values()]
    rng, members = np.random.default_rng(options.seed), []
    while len(members) < options.members:
        spec = space.random_member(rng)
        if (lines := blockstring.write(spec).splitlines()) not in used:
            members.append(spec)
            used.append(lines)
    runtime = data["runtime"]
    errors = {"calibrated": [], "sum": []}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "network.tflite"
        for spec in members:
            write_network(spec, path, **shape)
            times = measure(path, threads=runtime["threads"], warmup=runtime["warmup"], runs=runtime["runs"])
            measured, predicted = times["median_ms"], table.predicted(spec)
            errors["calibrated"].append(abs(predicted / measured - 1))
            errors["sum"].append(abs(table.predicted(spec, calibrated=False) / measured - 1))
            spread = (times["p95_ms"] - times["p5_ms"]) / measured
            print(f"predicted {predicted:.3f} ms, measured {measured:.3f} ms (spread {spread:.0%})")
    print(
        json.dumps(
            {
                "device": data["device"],
                "threads": runtime["threads"],
                "members": len(members),
                "calibration": data["calibration"],
                **{
                    f"{name}_{what}_error": float(function(values))
                    for name, values in errors.items()
                    for what, function in (("mean", np.mean), ("median", np.median), ("largest", np.max))
                },
            }
        )
    )


if __name__ == "__main__":
    main()
