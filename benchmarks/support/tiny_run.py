"""The smallest network and search space with every kind of part, for benchmarks of the loop and not of the network."""

ARCH = "r1_k3_s22_e1_i32_o8_noskip\nr2_k3_s22_e3_i8_o16_nonlocal0.25-1_se0.25\n"
SPACE = {
    "candidates": {
        "kernels": [3, 5],
        "expansions": [3, 6],
        "se_ratios": [0.25],
        "nonlocal_ratios": [0.25, 0.5],
        "nonlocal_strides": [2, 1],
    },
    "blocks": [{"block": "r1_k3_s22_e1_i32_o8_noskip", "searchable": False}, {"block": "r2_k5_s22_e6_i8_o16"}],
}
