"""What `--mode=describe --search_space=` says of a space: its range, the number of its members, what a block may be."""

from __future__ import annotations

from typing import Any

from autonl_tf.arch import blockstring, cost
from autonl_tf.space import around
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model
from autonl_tf.space.gate_kind import plain_number


def description(name: str, *, image_size: int | None, num_classes: int) -> dict[str, Any]:
    """A space, at `image_size` or, with None, at that of the network that it is around, else 224.

    Returns:
      `search_space`, the settings, `network` (the header of its members), `members` (`Space.count`), `smallest` and
      `largest` (`macs` and `params` of these two), and `blocks`: of each its `name`, its largest `block`, whether it
      `may_be_dropped`, its `options` by what is chosen, where there are several, and the range of its `macs`.

    Raises:
      UserError: no such space, or a candidate does not fit the image size.
    """
    space = space_lib.load(name)
    image_size = image_size or around.image_size(name)
    space.check(image_size)
    shape = {"image_size": image_size, "num_classes": num_classes}
    model = macs_model(space, **shape)
    titles = {
        choice: title for kind in space.blocks[0].kinds for choice, title in zip(kind.choices, kind.titles, strict=True)
    }
    ends = [cost.network_cost(member, **shape).total for member in (space.smallest(), space.largest())]
    return {
        "search_space": name,
        "input_image_size": image_size,
        "num_label_classes": num_classes,
        "network": blockstring.write_header(space.family),
        "members": space.count(),
        **{
            end: {"macs": macs, "params": total.params}
            for end, macs, total in zip(("smallest", "largest"), model.reachable(), ends, strict=True)
        },
        "blocks": [
            {
                "name": f"block{index}",
                "block": blockstring.write_block(block.block(block.largest)),
                "may_be_dropped": block.droppable,
                "options": {
                    titles[choice]: [option for option in options if option != 0 or choice != "expand"]
                    for choice, options in block.options.items()
                    if len(options) > 1 + (choice == "expand" and block.droppable)
                },
                "macs": [float(table.min()), float(table.max())],
            }
            for index, (block, table) in enumerate(zip(space.blocks, model.tables, strict=True))
        ],
    }


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The description's blocks as cells, a header first."""
    found = [("", "block at its largest", "may be dropped", "may be chosen", "MACs (M)")]
    for row in result["blocks"]:
        chosen = "; ".join(f"{title} {', '.join(map(_word, of))}" for title, of in row["options"].items())
        low, high = (f"{macs / 1e6:.3f}" for macs in row["macs"])
        macs = low if low == high else f"{low} to {high}"
        found.append((row["name"], row["block"], "yes" if row["may_be_dropped"] else "", chosen, macs))
    return found


def summary(result: dict[str, Any]) -> str:
    """The description's last line."""
    (low, few), (high, many) = ((result[end]["macs"], result[end]["params"]) for end in ("smallest", "largest"))
    count = result["members"]
    members = f"{count:,}" if count < 10**9 else f"{count:.3g}"
    return (
        f"{result['search_space']} at {result['input_image_size']} px, {result['num_label_classes']} classes: "
        f"{members} combinations of options, {low / 1e6:.6f}M to {high / 1e6:.6f}M MACs, {few:,} to {many:,} trainable "
        "parameters"
    )


def _word(option: Any) -> str:
    if option is None or isinstance(option, bool):
        return {None: "none", False: "no", True: "yes"}[option]
    return option if isinstance(option, str) else plain_number(option)
