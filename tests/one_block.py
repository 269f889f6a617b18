"""A search space of one searchable block, with a candidate of every kind."""

CANDIDATES = {
    "kernels": [3, 5],
    "expansions": [3, 6],
    "se_ratios": [0.25],
    "nonlocal_ratios": [0.25, 0.5],
    "nonlocal_strides": [2, 1],
}
SPACE = {"candidates": CANDIDATES, "blocks": [{"block": "r2_k5_s22_e6_i32_o32"}]}
