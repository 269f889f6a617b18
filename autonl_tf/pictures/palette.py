"""The colours of pictures and pages, by use: Okabe and Ito's, which every kind of colour vision tells apart."""

from __future__ import annotations

INK, NOTE, QUIET = "#333333", "#6A6A6A", "#8A8A8A"  # text, small text, and what steps back
RULE, GRID, SHADE = "#DDDDDD", "#E4E4E4", "#F3F3F3"
WARNING, GOOD = "#FDEEE4", "#E6F4EF"  # behind text
BLUE = "#0072B2"
SKY = "#56B4E9"
ORANGE = "#E69F00"
VERMILION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
YELLOW = "#F0E442"
LINES = (GREEN, VERMILION, BLUE)
# What a block has beside its convolutions.
SQUEEZE_EXCITE, LIGHT_NL, EMBEDDED = YELLOW, VERMILION, INK
KERNELS = {3: SKY, 5: BLUE, 7: GREEN}
OTHER_KERNEL, SEVERAL_KERNELS = ORANGE, PURPLE
# The phases of a search: name, colour of the name, shade and its opacity.
PHASES = (("warm-up", ORANGE, ORANGE, 0.1), ("decision", PURPLE, None, 0.0), ("settling", BLUE, SKY, 0.16))
OPEN, CLOSED = "#542788", "#B35806"


def margin_color(share: float) -> str:
    """The colour of a margin, as a share of the largest: from -1, closed, to 1, open; pale near 0."""
    end = OPEN if share >= 0 else CLOSED
    strength = 0.15 + 0.85 * min(abs(share), 1.0)
    return "#" + "".join(f"{round(255 - strength * (255 - int(end[i : i + 2], 16))):02x}" for i in (1, 3, 5))
