"""Every mistake with flags, architectures and spaces: one line names the culprit, code 2, nothing written."""

import json

import pytest
from mode_cases import ARCH, SPACE, command, given

LINES = ARCH.splitlines()

# The command line itself, in processes that end before TensorFlow.

WRONG_FLAGS = {
    "unknown flag": (["--mode=train", "--nosuch=1"], "nosuch"),
    "unknown mode": (["--mode=nosuch"], "nosuch"),
    "no mode": (["--seed=1"], "--mode"),
    "unknown strategy": (["--mode=eval", "--strategy=nosuch"], "strategy"),
    "unknown output": (["--mode=describe", "--output=xml"], "xml"),
    "not a number": (["--mode=train", "--train_steps=many"], "train_steps"),
    "out of range": (["--mode=train", "--dropout_rate=1.5"], "dropout_rate"),
    "no steps": (["--mode=train", "--train_steps=0"], "train_steps"),
    "no learning rate": (["--mode=train", "--base_learning_rate=0"], "base_learning_rate"),
    "no rate after a decay": (["--mode=train", "--lr_decay_rate=0"], "lr_decay_rate"),
    "not finite": (["--mode=describe", "--arch=autonl_s", "--train_epochs=inf"], "--train_epochs=inf"),
    "not a number at all": (["--mode=describe", "--arch=autonl_s", "--cost_lambda=nan"], "--cost_lambda=nan"),
    "steps and epochs": (
        ["--mode=train", "--arch=autonl_s", "--dataset=demo", "--model_dir=run", "--train_steps=1", "--train_epochs=1"],
        "--train_steps and --train_epochs",
    ),
    "no model_dir": (["--mode=train", "--arch=autonl_s", "--dataset=demo"], "--model_dir"),
    "no weights": (["--mode=predict", "--images=a.jpg"], "--init_checkpoint"),
    "archive of another kind": (
        ["--mode=predict", "--images=a.jpg", "--model_dir=run", "--output=out.txt"],
        "out.txt",
    ),
    "zone without a TPU": (["--mode=eval", "--dataset=demo", "--model_dir=run", "--tpu_zone=z"], "--tpu"),
    "float16 on a TPU": (["--mode=eval", "--dataset=demo", "--model_dir=run", "--tpu=t", "--precision=float16"], "TPU"),
    "shares that leave nothing": (
        [
            *("--mode=search", "--dataset=demo", "--model_dir=run"),
            "--search_warmup_share=0.9",
        ],
        "--search_warmup_share",
    ),
    "a search around nothing it starts from": (
        [*("--mode=search", "--dataset=demo", "--model_dir=run"), "--arch=autonl_s"],
        "names the network of --init_checkpoint, which is not given",
    ),
    "a search from weights of no member": (
        [
            *("--mode=search", "--dataset=demo", "--model_dir=run"),
            *("--init_checkpoint=imagenet", "--arch=efficientnet_lite0", "--search_space=paper"),
        ],
        "--arch=efficientnet_lite0: does not fit the search space paper: activation relu6, accepted swish",
    ),
    "around nothing": (["--mode=describe", "--search_space=around:"], "--search_space=around:: accepted: around:ARCH"),
    "around a misspelt network": (
        ["--mode=describe", "--search_space=around:efficientnet_lite9,depth"],
        "--search_space=around:efficientnet_lite9: No such file",
    ),
    "around what no space holds": (
        ["--mode=describe", "--search_space=around:mixnet_s"],
        "a space cannot hold block 1 (r1_k3_s22_a1.1_p1.1_e6_i16_o24): an expansion in groups",
    ),
    "around with an unknown word": (
        ["--mode=describe", "--search_space=around:efficientnet_lite0,depths"],
        "unknown 'depths'; accepted: around:ARCH, then",
    ),
    "around with a word twice": (
        ["--mode=describe", "--search_space=around:efficientnet_lite0,depth,depth"],
        "'depth' is given twice",
    ),
    "around with nothing to choose": (
        ["--mode=describe", "--search_space=around:efficientnet_lite0,no_nonlocal"],
        "nothing can be chosen",
    ),
    "around without a stride to compare with": (
        ["--mode=describe", "--search_space=around:efficientnet_lite0,nonlocal0.25-2"],
        "lacks LightNL of stride 1",
    ),
    "describe a network and a space": (
        ["--mode=describe", "--arch=autonl_s", "--search_space=paper"],
        "accepted: one of the two",
    ),
    "describe a space's picture": (
        ["--mode=describe", "--search_space=paper", "--output=a.png"],
        "--output is for architectures; --search_space=paper is a space",
    ),
    "unknown augmentation": (["--mode=train", "--augment=mixup"], "mixup"),
    "RandAugment's flag without it": (
        [*("--mode=train", "--arch=autonl_s", "--dataset=demo", "--model_dir=run"), "--randaugment_layers=3"],
        "--augment=randaugment",
    ),
    "no such flag file": (["--flagfile=nosuch.flags"], "nosuch.flags"),
    "stray word": (["--mode=describe", "--arch=autonl_s", "stray"], "stray"),
    "describe a misspelt preset": (["--mode=describe", "--arch=autonl_x"], "autonl_x"),
    "describe an architecture pasted": (["--mode=describe", f"--arch={ARCH * 40}"], "File name too long"),
    "describe a map too small": (["--mode=describe", "--arch=autonl_s", "--input_image_size=8"], "LightNL stride"),
}


def check_one_line(done, culprit, folder, before=()):
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert culprit in line
    assert sorted(folder.iterdir()) == sorted(before)


@pytest.mark.parametrize("case", WRONG_FLAGS)
def test_a_wrong_command_line_ends_with_code_2_and_one_line(case, tmp_path):
    words, culprit = WRONG_FLAGS[case]
    check_one_line(command(*words, cwd=tmp_path), culprit, tmp_path)


@pytest.mark.parametrize("case", ["data set", "architecture"])
def test_the_modes_mistakes_end_with_code_2_and_one_line_too(case, home, tmp_path):
    words = ["--mode=train", "--arch=autonl_s", "--dataset=nosuch", "--model_dir=run"]
    culprit = "'nosuch'"
    if case == "architecture":
        (tmp_path / "bad.txt").write_text(f"{LINES[0]}\n{LINES[1].replace('nonlocal', 'nonlocl')}\n")
        words = given(words, arch="bad.txt", dataset=f"folder:{home}/pictures")
        culprit = "bad.txt, line 2: unknown token 'nonlocl0.25-2'"
    before = list(tmp_path.iterdir())
    check_one_line(command(*words, cwd=tmp_path), culprit, tmp_path, before)


# Architecture files.

BAD_ARCH = {
    "misspelt": (1, LINES[1].replace("nonlocal", "nonlocl"), r"line 2: unknown token 'nonlocl0\.25-2'"),
    "missing": (1, LINES[1].replace("_o12", ""), r"line 2: .* lacks the token 'o'"),
    "repeated": (2, LINES[2] + "_k5", r"line 3: token 'k5' repeats 'k'"),
    "ratio out of range": (1, "r1_k3_s22_e2_i8_o12_nonlocal1.5-1", r"line 2: token 'nonlocal1\.5-1' is out of range"),
    "even kernel": (0, LINES[0].replace("k3", "k4"), r"line 1: token 'k4' is out of range"),
    "uneven stride": (0, LINES[0].replace("s22", "s12"), r"line 1: token 's12' is out of range"),
    "channels that do not chain": (2, LINES[2].replace("i12", "i16"), r"line 3: token 'i16' does not follow .* 'i12'"),
    "not the stem's channels": (0, LINES[0].replace("i32", "i24"), r"line 1: token 'i24' .* stem"),
}


@pytest.mark.parametrize("mode", ["train", "describe"])
@pytest.mark.parametrize("case", BAD_ARCH)
def test_a_wrong_block_is_refused_by_file_line_and_token(case, mode, training, tmp_path, refused):
    number, line, pattern = BAD_ARCH[case]
    path = tmp_path / "bad.txt"
    path.write_text("".join(f"{line if i == number else other}\n" for i, other in enumerate(LINES)))
    refused(given(training, mode=mode, arch=path), rf"bad\.txt, {pattern}")


@pytest.mark.parametrize("mode", ["train", "describe"])
@pytest.mark.parametrize(
    ("data", "pattern"),
    [(b"", "no block"), (b"\n \n", "no block"), (b"\xff\xfe", "not a text file"), (None, "No such")],
)
def test_a_file_without_blocks_is_refused_by_name(data, pattern, mode, training, tmp_path, refused):
    path = tmp_path / "bad.txt"
    if data is not None:
        path.write_bytes(data)
    refused(given(training, mode=mode, arch=path), rf"bad\.txt: {pattern}")


@pytest.mark.parametrize("mode", ["train", "describe"])
def test_a_light_nl_stride_larger_than_its_map_is_refused(mode, training, tmp_path, refused):
    path = tmp_path / "bad.txt"
    path.write_text(ARCH.replace("nonlocal0.25-2", "nonlocal0.25-5"))
    refused(given(training, mode=mode, arch=path), r"bad\.txt: block 1 at 32 px: LightNL stride 5 .* 4x4")


# Spaces.

BAD_SPACES = {
    "not JSON": ("{", r"bad\.json: not JSON"),
    "unknown key": (json.dumps({**SPACE, "block": []}), r"bad\.json: unknown key 'block'"),
    "lacks candidates": (json.dumps({"blocks": SPACE["blocks"]}), r"bad\.json: lacks 'candidates'"),
    "no blocks": (json.dumps({**SPACE, "blocks": []}), r"bad\.json: \"blocks\" must be"),
    "kernels that fall": (
        json.dumps({**SPACE, "candidates": {**SPACE["candidates"], "kernels": [5, 3]}}),
        r"bad\.json, block entry 1: 'kernels' must be ascending",
    ),
    "bad block": (
        json.dumps({**SPACE, "blocks": [{"block": "r1_k3_s22_e6_i32_o12_nonlocl"}]}),
        r"bad\.json, block entry 0: unknown token 'nonlocl'",
    ),
    "stride larger than its map": (
        json.dumps({**SPACE, "candidates": {**SPACE["candidates"], "nonlocal_strides": [5, 1]}}),
        r"bad\.json: block 1 at 32 px: LightNL stride 5",
    ),
}


@pytest.mark.parametrize("case", BAD_SPACES)
def test_a_wrong_space_file_is_refused(case, searching, tmp_path, refused):
    text, pattern = BAD_SPACES[case]
    (tmp_path / "bad.json").write_text(text)
    refused(given(searching, search_space=tmp_path / "bad.json"), pattern)


def test_a_missing_space_is_refused(searching, refused):
    refused(given(searching, search_space="nosuch"), r"--search_space=nosuch: No such file.*demo, paper")
