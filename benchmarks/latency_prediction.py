"""How well a latency table predicts whole networks: random members of its space, measured on the device it was made on.

The table's own calibration comes from other networks. Prints predicted and measured milliseconds of every member; ends
in one line of JSON with the mean, median and largest relative error, calibrated and not.

    python benchmarks/latency_prediction.py --table=runs/profile/latency.json [--space=demo] [--members=30] [--seed=1]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile

import numpy as np

from autonl_tf.arch import blockstring, latency
from autonl_tf.arch import space as space_lib
from autonl_tf.export.pieces import write_network
from autonl_tf.export.timing import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True)
    parser.add_argument("--space", default="demo")
    parser.add_argument("--members", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    table = latency.read_table(options.table)
    data = json.loads(pathlib.Path(options.table).read_text(encoding="utf-8"))
    shape = {"image_size": table.image_size, "num_classes": table.num_classes}
    space = space_lib.load(options.space)
    table.cost_model(space, **shape)  # says what it lacks
    used = [network["arch"] for network in data["networks"].values()]
    rng, members = np.random.default_rng(options.seed), []
    while len(members) < options.members:
        spec = space.random_member(rng)
        if blockstring.write(spec).splitlines() not in used:
            members.append(spec)
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
                "device": table.device,
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
