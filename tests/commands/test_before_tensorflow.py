"""Mistakes of the command line, and what names of files, headers and descriptions tell, end a run before TensorFlow."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from mode_cases import ARCH, CLASSES, MAIN, SPACE, class_folder, tree, write_space

from autonl_tf.data import manifest
from autonl_tf.data.folder import list_folder
from autonl_tf.records import ModelRecord

# Runs command lines one after the other, each in a child that cannot import TensorFlow, and tells how they ended.
RUNNER = """
import json, os, sys, tempfile
from autonl_tf.cli import main
sys.modules["tensorflow"] = None
ended = []
for words in json.load(sys.stdin):
    with tempfile.TemporaryFile() as out:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            sys.argv = ["main.py", *words]
            main.run()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        ended.append([code, out.read().decode()])
json.dump(ended, sys.stdout)
"""

TRAIN = ("--mode=train", "--arch=arch.txt", "--dataset=folder:pictures", "--model_dir=run")
SEARCH = ("--mode=search", "--search_space=space.json", "--dataset=folder:pictures", "--model_dir=run")
EXPORT = ("--mode=export", "--output=out", "--init_checkpoint=weights")
CONVERT = ("--mode=convert", "--from=pytorch", "--arch=autonl_s", "--model_dir=run")
PREDICT = ("--mode=predict", "--init_checkpoint=weights")
EVAL = ("--mode=eval", "--dataset=folder:pictures")
AROUND_LITE0 = "--search_space=around:efficientnet_lite0"

CASES = {
    "classes of a folder": (
        (*TRAIN, "--num_label_classes=4"),
        "--num_label_classes=4: --dataset=folder:pictures has 3",
    ),
    "classes of a search": ((*SEARCH, "--num_label_classes=4"), "--dataset=folder:pictures has 3 classes"),
    "classes of the demo": ((*TRAIN, "--dataset=demo", "--num_label_classes=4"), "--dataset=demo has 8 classes"),
    "classes of records": (
        (*TRAIN, "--dataset=imagenet_tfrecord:records", "--num_label_classes=4"),
        "--dataset=imagenet_tfrecord:records has 1000 classes",
    ),
    "a label file that lacks a class": ((*TRAIN, "--label_file=two.txt"), "class 'cat' is not in label file two.txt"),
    "a label file that lacks one of the demo's": (
        (*TRAIN, "--dataset=demo", "--label_file=two.txt"),
        "class 'checkerboard' is not in label file two.txt",
    ),
    "a label file with a name twice": ((*TRAIN, "--label_file=twice.txt"), "line 2: 'ant' was already on line 1"),
    "a single class": ((*TRAIN, "--dataset=folder:alone"), "only one class, 'ant'"),
    "a class without images": ((*TRAIN, "--dataset=folder:hollow"), "class folder 'bee' has no images"),
    "no images at all": ((*TRAIN, "--dataset=folder:texts"), "no images in class folders"),
    "a class with a line break": ((*TRAIN, "--dataset=folder:broken"), "holds the character U+000A"),
    "a class that turns the text": ((*TRAIN, "--dataset=folder:turned"), "holds the character U+202E"),
    "no training images": ((*TRAIN, "--dataset=folder:scored"), "it has no train images"),
    "no training images for a search": ((*SEARCH, "--dataset=folder:scored"), "it has no train images"),
    "no validation images": (
        ("--mode=eval", "--dataset=imagenet_tfrecord:learnt", "--init_checkpoint=weights"),
        "it has no validation images",
    ),
    "test images twice": (
        (*TRAIN, "--dataset=folder:tested", "--test_split=0.5"),
        "--test_split=0.5: folder:tested has test images of its own",
    ),
    "shards that are missing": ((*TRAIN, "--dataset=imagenet_tfrecord:lost"), "1 of 2 train shards missing"),
    "a class without a weight": ((*TRAIN, "--class_weights=weights.txt"), "lacks 1 classes, 'cat' first"),
    "a text for an image": ((*PREDICT, "--images=two.txt"), "corrupt image two.txt: not an image of a known kind"),
    "a text among the images": (
        ("--mode=explain", "--init_checkpoint=weights", "--output=out", "--images=mixed"),
        "corrupt image mixed/b.jpg: not an image of a known kind",
    ),
    "nothing but texts": (
        (*PREDICT, "--images=texts/*/note.txt", "--skip_corrupt"),
        "none of 2 images can be used; the first: corrupt image texts/ant/note.txt: not an image of a known kind",
    ),
    "an empty image": ((*PREDICT, "--images=records/train-*"), "corrupt image records/train-00000-of-00001: empty"),
    "a directory without images": ((*PREDICT, "--images=texts"), "--images=texts: holds no images (.jpg"),
    "a kind of image that is not read": ((*PREDICT, "--images=drawing.svg"), "image drawing.svg: SVG is not read; acc"),
    "a link to an image that is gone": ((*PREDICT, "--images=dangling"), "error: image dangling/a.png: missing (--sk"),
    "a link to an image named": ((*PREDICT, "--images=dangling/a.png"), "error: image dangling/a.png: missing (--sk"),
    "links to images by a pattern": ((*PREDICT, "--images=dangl*/*.png"), "error: image dangling/a.png: missing (--sk"),
    "a pipe for an image": ((*PREDICT, "--images=pipe"), "--images=pipe: pipe is not a regular file"),
    "a device among images": ((*PREDICT, "--images=/dev/zer*"), "/dev/zero is not a regular file"),
    "weights that cannot be read": ((*EVAL, "--init_checkpoint=/proc/self/mem"), "error: /proc/self/mem: Input/output"),
    "a name of images that is too long": ((*PREDICT, f"--images={'x' * 300}"), "File name too long; accepted"),
    "a loop of links for a folder": ((*TRAIN, "--dataset=folder:loop"), "folder:loop: Too many levels of symbolic"),
    "a loop of links for records": ((*TRAIN, "--dataset=imagenet_tfrecord:loop"), "loop: Too many levels of symbolic"),
    "a file for a folder": ((*TRAIN, "--dataset=folder:two.txt"), "folder:two.txt: is not a directory"),
    "an image that is not there": ((*PREDICT, "--images=nosuch.png"), "--images=nosuch.png: no such file"),
    "a text for weights": ((*EVAL, "--init_checkpoint=two.txt"), "two.txt: no checkpoint there"),
    "a text named as weights": (
        (*EVAL, "--arch=arch.txt", "--init_checkpoint=text.h5"),
        "text.h5: is not a Keras file",
    ),
    "a text for PyTorch's weights": (
        (*CONVERT, "--init_checkpoint=two.txt"),
        "two.txt: is not a PyTorch file",
    ),
    "a file of PyTorch": ((*EVAL, "--init_checkpoint=state.pth"), "convert it with --mode=convert"),
    "a run without checkpoints": ((*EVAL, "--model_dir=fresh"), "fresh: no checkpoint in this directory"),
    "an export of run without checkpoints": (
        ("--mode=export", "--output=out", "--model_dir=fresh"),
        "fresh: no checkpoint in this directory",
    ),
    "a prefix whose index is missing": (
        (*EVAL, "--init_checkpoint=fresh/lost"),
        "its lost.index is missing, lost.data-00000-of-00001 is there",
    ),
    "several checkpoints": ((*EVAL, "--init_checkpoint=several"), "several: holds several checkpoints (a, b)"),
    "an export without a SavedModel": ((*EVAL, "--init_checkpoint=slim"), "slim: an export without a SavedModel"),
    "published weights of no network": ((*TRAIN, "--init_checkpoint=imagenet"), "no published weights for arch.txt"),
    "published weights without a network": ((*EVAL, "--init_checkpoint=imagenet"), "imagenet: needs --arch"),
    "published weights of other classes": (
        (*EVAL, "--init_checkpoint=imagenet", "--arch=efficientnet_lite0"),
        "has 1000 classes, folder:pictures has 3",
    ),
    "published weights, plain": (
        (*EXPORT, "--init_checkpoint=imagenet", "--arch=efficientnet_lite0", "--use_averages=false"),
        "holds one set of weights",
    ),
    "weights of another network": (
        (*EVAL, "--init_checkpoint=weights", "--arch=autonl_s"),
        "weights/checkpoints/ckpt-2: holds another architecture than autonl_s: 3 blocks, not 18",
    ),
    "weights of other classes": (
        (*EVAL, "--init_checkpoint=weights", "--num_label_classes=5"),
        "--num_label_classes=5: --dataset=folder:pictures has 3 classes",
    ),
    "an export of other classes": ((*EXPORT, "--num_label_classes=5"), "--num_label_classes=5: weights has 3 classes"),
    "an export of a label file of other classes": (
        (*EXPORT, "--label_file=two.txt"),
        "--label_file=two.txt: has 2 names; weights/checkpoints/ckpt-2 has 3 classes",
    ),
    "an export scored on other classes": (
        (*EXPORT, "--dataset=folder:others"),
        "ckpt-2: class 1 is 'bee' there and 'bug' in folder:others",
    ),
    "an evaluation on more classes": ((*EVAL, "--dataset=demo", "--init_checkpoint=weights"), "demo has 8"),
    "weights of another width": (
        (*EVAL, "--init_checkpoint=weights", "--depth_multiplier=0.5"),
        "--depth_multiplier=0.5: weights/checkpoints/ckpt-2 was trained with 1.0",
    ),
    "int8 of weights that were not trained so": ((*EXPORT, "--formats=tflite_qat"), "was not trained with --qat"),
    "maps of a network without non-local blocks": (
        ("--mode=explain", "--init_checkpoint=local", "--output=out", "--images=pictures"),
        "the network has no non-local block to explain",
    ),
    "a conversion of what is converted": (
        ("--mode=convert", "--init_checkpoint=weights", "--model_dir=run"),
        "is a checkpoint of this program already",
    ),
    "a training from simulated int8": ((*TRAIN, "--init_checkpoint=quantized"), "training starts from float weights"),
    "a damaged description": ((*EVAL, "--init_checkpoint=damaged"), "damaged/model.json: not the description of a run"),
    "int8 of what has no int8 form": (
        (*TRAIN, "--arch=fbnet_c", "--nonlocal=10:embedded0.5-1", "--qat", "--init_checkpoint=weights"),
        "has no int8 form of",
    ),
    "a target out of reach": ((*SEARCH, "--target_macs=900M"), "--target_macs=900M: out of this space's reach"),
    "a target out of reach of the demo's size": (
        (*SEARCH, "--dataset=demo", "--target_macs=20M"),
        "--target_macs=20M: out of this space's reach",
    ),
    "a batch too large for the size that nobody gave": (
        (*TRAIN, "--dataset=imagenet_tfrecord:records", "--arch=efficientnet_lite4", "--train_batch_size=65536"),
        "--train_batch_size=65536: at 300 px",
    ),
    "a run whose checkpoints are gone": (
        (*TRAIN, "--model_dir=gone"),
        "gone: a checkpoint of step 2 was saved in checkpoints/ and is not there now",
    ),
    "a run that began with other images": (
        (*TRAIN, "--model_dir=begun"),
        "begun: its images are not those it began with: 1 added (train/cat/1.jpg of train); put them back",
    ),
    "nothing to train": (
        (*TRAIN, "--freeze=stem,blocks,head,logits"),
        "--freeze=stem,blocks,head,logits: leaves nothing",
    ),
    "frozen as drawn": (
        (*TRAIN, "--freeze=backbone"),
        "--freeze=backbone needs --init_checkpoint",
    ),
    "a rate of what is frozen": (
        (*TRAIN, "--lr_multipliers=head:2", "--freeze=backbone"),
        "--lr_multipliers=head:2: 'head' is frozen by --freeze",
    ),
    "a rate of LightNL that is not there": (
        (*TRAIN, "--arch=mobilenet_v2", "--lr_multipliers=nonlocal:16"),
        "--lr_multipliers=nonlocal:16: mobilenet_v2 has no non-local blocks; --nonlocal places them",
    ),
    "a search too short": ((*SEARCH, "--train_steps=1"), "a search of 1 steps leaves none for decisions: 1 are warm"),
    "a batch that cannot be cut": (
        (*TRAIN, "--train_batch_size=8", "--micro_batches=3"),
        "--micro_batches=3: does not divide --train_batch_size=8",
    ),
    "a data service at no port": (
        (*TRAIN, "--data_service=grpc://localhost:99999"),
        'its address is "localhost:99999"; accepted: HOST:PORT, the port from 1 to 65535',
    ),
    "a data service that is not there": (
        (*TRAIN, "--data_service=grpc://localhost:1"),
        "--data_service=grpc://localhost:1: no dispatcher to be reached there: Connection refused",
    ),
    "a size at which the weights' network does not fit": (
        (*EVAL, "--init_checkpoint=weights", "--input_image_size=8"),
        "LightNL stride 2 is larger than its 1x1 feature map",
    ),
    "filters of a file of PyTorch": (
        (*CONVERT, "--init_checkpoint=state.pth", "--depth_multiplier=0.5"),
        "--depth_multiplier=0.5: not with --from=pytorch",
    ),
    "a run among the images": (
        (*TRAIN, "--model_dir=pictures/train/run"),
        "--model_dir=pictures/train/run: lies among the images of --dataset=folder:pictures; choose",
    ),
    "a report among the images": (
        (*EVAL, "--init_checkpoint=weights", "--output=pictures/val/ant"),
        "--output=pictures/val/ant: lies among the images of --dataset=folder:pictures",
    ),
    "a picture in no directory": (
        ("--mode=describe", "--arch=autonl_s", "--output=none/x.png"),
        "--output=none/x.png: its directory does not exist",
    ),
    "a picture of two networks in no directory": (
        ("--mode=compare", "--arch=autonl_s,autonl_l", "--output=none/x.png"),
        "--output=none/x.png: its directory does not exist",
    ),
    "an archive in no directory": (
        (*PREDICT, "--images=pictures", "--output=none/out.npz"),
        "--output=none/out.npz: its directory does not exist",
    ),
    "an archive in the place of a directory": (
        (*PREDICT, "--images=pictures", "--output=folder.npz"),
        "--output=folder.npz: is a directory; accepted: the path of a file to write",
    ),
    "maps among the images": (
        ("--mode=explain", "--init_checkpoint=weights", "--images=pictures", "--output=linked"),
        "--output=linked: lies among the images of --images=pictures",
    ),
    "maps in the place of the images": (
        ("--mode=explain", "--init_checkpoint=weights", "--images=pictures/val/*/0.jpg", "--output=linked/ant"),
        "--output=linked/ant: holds images of --images=pictures/val/*/0.jpg; choose another directory",
    ),
    "maps beside an image": (
        ("--mode=explain", "--init_checkpoint=weights", "--images=mixed/a.jpg", "--output=mixed/../mixed"),
        "--output=mixed/../mixed: holds images of --images=mixed/a.jpg",
    ),
    "an export in the place of the working directory": (
        ("--mode=export", "--init_checkpoint=weights", "--output=."),
        "--output=.: is or contains the working directory, and is replaced as a whole; choose another",
    ),
    "a converted run in the place of a directory above the working one": (
        ("--mode=convert", "--from=pytorch", "--init_checkpoint=state.pth", "--arch=arch.txt", "--model_dir=.."),
        "--model_dir=..: is or contains the working directory",
    ),
    "a rate given twice": ((*TRAIN, "--lr_multipliers=head:2,head:3"), "'head' is given twice"),
    "no images that set ranges": (
        (*EXPORT, "--formats=tflite_int8", "--calibration_dataset=folder:texts"),
        "--calibration_dataset=folder:texts: no images there",
    ),
    "unknown strategy": ((*EVAL, "--strategy=nosuch"), "--strategy=nosuch"),
    "unknown output": (("--mode=describe", "--arch=autonl_s", "--output=xml"), "xml"),
    "steps and epochs": ((*TRAIN, "--train_steps=1", "--train_epochs=1"), "--train_steps and --train_epochs"),
    "no directory of the run": (TRAIN[:-1], "--model_dir"),
    "no weights": (("--mode=predict", "--images=a.jpg"), "--init_checkpoint"),
    "archive of another kind": ((*PREDICT, "--images=a.jpg", "--output=out.txt"), "out.txt"),
    "zone without a TPU": ((*EVAL, "--model_dir=run", "--tpu_zone=z"), "--tpu"),
    "float16 on a TPU": ((*EVAL, "--model_dir=run", "--tpu=t", "--precision=float16"), "TPU"),
    "unknown augmentation": ((*TRAIN, "--augment=mixup"), "mixup"),
    "RandAugment's flag without it": ((*TRAIN, "--randaugment_layers=3"), "--augment=randaugment"),
    "no such flag file": (("--flagfile=nosuch.flags",), "nosuch.flags"),
    "a wrong block": ((*TRAIN, "--arch=bad.txt"), "bad.txt, line 2: unknown token 'nonlocl0.25-2'"),
    "a directory without an architecture": (
        ("--mode=describe", "--arch=texts"),
        "--arch=texts/arch.txt: No such file or directory",
    ),
    "a wrong block described": (
        ("--mode=describe", "--arch=bad.txt"),
        "bad.txt, line 2: unknown token 'nonlocl0.25-2'",
    ),
    "bytes for an architecture": (("--mode=describe", "--arch=state.pth"), "state.pth: not a text file"),
    "a misspelt network": (("--mode=describe", "--arch=autonl_x"), "autonl_x"),
    "an architecture pasted": (("--mode=describe", f"--arch={ARCH * 40}"), "File name too long"),
    "a map too small": (("--mode=describe", "--arch=autonl_s", "--input_image_size=8"), "LightNL stride"),
    "a LightNL stride larger than its map": (
        (*TRAIN, "--arch=strided.txt", "--input_image_size=32"),
        "strided.txt: block 1 at 32 px: LightNL stride 5",
    ),
    "a space's stride larger than its map": (
        (*SEARCH, "--search_space=strided.json", "--input_image_size=32"),
        "strided.json: block 1 at 32 px: LightNL stride 5",
    ),
    "a misspelt space": ((*SEARCH, "--search_space=nosuch"), "--search_space=nosuch: No such file"),
    "shares that leave nothing": ((*SEARCH, "--search_warmup_share=0.9"), "--search_warmup_share"),
    "a search around nothing it starts from": (
        ("--mode=search", "--dataset=demo", "--model_dir=run", "--arch=autonl_s"),
        "names the network of --init_checkpoint, which is not given",
    ),
    "a search from weights of no member": (
        (*SEARCH, "--init_checkpoint=imagenet", "--arch=efficientnet_lite0", "--search_space=paper"),
        "--arch=efficientnet_lite0: does not fit the search space paper: activation relu6, accepted swish",
    ),
    "around nothing": (("--mode=describe", "--search_space=around:"), "--search_space=around:: accepted: around:ARCH"),
    "around with an unknown word": (
        ("--mode=describe", f"{AROUND_LITE0},depths"),
        "unknown 'depths'; accepted: around:ARCH, then",
    ),
    "around with a word twice": (("--mode=describe", f"{AROUND_LITE0},depth,depth"), "'depth' is given twice"),
    "around with nothing to choose": (("--mode=describe", f"{AROUND_LITE0},no_nonlocal"), "nothing can be chosen"),
    "around without a stride to compare with": (
        ("--mode=describe", f"{AROUND_LITE0},nonlocal0.25-2"),
        "lacks LightNL of stride 1",
    ),
    "a network and a space described": (
        ("--mode=describe", "--arch=autonl_s", "--search_space=paper"),
        "accepted: one of the two",
    ),
    "the picture of a space": (
        ("--mode=describe", "--search_space=paper", "--output=a.png"),
        "--output is for architectures; --search_space=paper is a space",
    ),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """How each case ended: its exit code and what it printed; all in one process without TensorFlow."""
    root = tmp_path_factory.mktemp("before")
    _spoil(root)
    before = tree(root)
    environment = {**os.environ, "PYTHONPATH": str(MAIN.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("TF_CONFIG", None)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        cwd=root,
        env=environment,
        input=json.dumps([words for words, _ in CASES.values()]),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert tree(root) == before
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


def _spoil(root):
    class_folder(root / "pictures", {"train": 2, "val": 1})
    class_folder(root / "alone", {"train": 2, "val": 1}, classes=("ant",))
    class_folder(root / "scored", {"val": 1})
    class_folder(root / "tested", {"train": 1, "val": 1, "test": 1})
    class_folder(root / "hollow", {"train": 1}, classes=("ant",))
    (root / "hollow/train/bee").mkdir()
    for name, folder in (("broken", "be\ne"), ("turned", "be\u202ee")):
        class_folder(root / name, {"train": 1, "val": 1}, classes=("ant", folder))
    for name in ("ant", "bee"):
        (root / "texts" / name).mkdir(parents=True)
        (root / "texts" / name / "note.txt").write_text("a note\n")
    for folder, names in (
        ("records", ["train-00000-of-00001", "validation-00000-of-00001"]),
        ("lost", ["train-00001-of-00002"]),
        ("learnt", ["train-00000-of-00001"]),
    ):
        (root / folder).mkdir()
        for name in names:
            (root / folder / name).write_bytes(b"")
    (root / "linked").symlink_to(root / "pictures/val")
    (root / "mixed").mkdir()
    (root / "mixed/a.jpg").write_bytes((root / "pictures/train/ant/0.jpg").read_bytes())
    (root / "mixed/b.jpg").write_text("a note\n")
    (root / "dangling").mkdir()
    (root / "dangling/a.png").symlink_to(root / "nowhere.png")
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to("loop")
    (root / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    class_folder(root / "others", {"train": 1, "val": 1}, classes=("ant", "bug", "cat"))
    described = ModelRecord(
        arch=ARCH,
        input_image_size=32,
        crop_padding=32,
        depth_multiplier=1.0,
        class_names=CLASSES,
        classes_are_numbered=False,
        dataset="folder:pictures",
    )
    of_runs = {
        "weights": described,
        "quantized": dataclasses.replace(described, qat=True),
        "local": dataclasses.replace(described, arch=ARCH.replace("_nonlocal0.25-2", "")),
        "damaged": dataclasses.replace(described, depth_multiplier="wide"),
    }
    for name, record in of_runs.items():
        (root / name / "checkpoints").mkdir(parents=True)
        (root / name / "checkpoints/ckpt-2.index").touch()
        (root / name / "model.json").write_text(json.dumps(dataclasses.asdict(record)))
    for folder, name in (
        *(("fresh", "lost.data-00000-of-00001"), ("fresh/checkpoints", "note"), ("several", "a.index")),
        *(("several", "b.index"), ("slim", "card.json")),
    ):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / name).touch()
    known = [e for of in list_folder(f"{root}/pictures").entries(f"{root}/pictures").values() for e in of]
    (root / "begun").mkdir()
    (root / "folder.npz").mkdir()
    (root / "begun" / manifest.NAME).write_text(manifest.Manifest(tuple(known[:-1]), {}).text())
    (root / "gone").mkdir()
    (root / "gone/saved.json").write_text('{"step": 2, "best": null}')
    (root / "text.h5").write_text("a note\n")
    (root / "state.pth").write_bytes(b"\x80\x02")
    (root / "two.txt").write_text("ant\nbee\n")
    (root / "twice.txt").write_text("ant\nant\n")
    (root / "weights.txt").write_text("ant 1\nbee 2\n")
    (root / "arch.txt").write_text(ARCH)
    (root / "bad.txt").write_text(ARCH.replace("nonlocal", "nonlocl"))
    (root / "strided.txt").write_text(ARCH.replace("nonlocal0.25-2", "nonlocal0.25-5"))
    write_space(root / "space.json")
    write_space(root / "strided.json", candidates=SPACE["candidates"] | {"nonlocal_strides": [5, 1]})


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_in_one_line_and_nothing_is_written(case, ended):
    code, said = ended[case]
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert (code, CASES[case][1] in line, "Traceback" in said) == (2, True, False), said
