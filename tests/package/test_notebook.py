"""The notebook of examples/ runs from its first cell to its last."""

from __future__ import annotations

import pathlib
import re

import pytest

from autonl_tf.data import demo
from autonl_tf.data.datasets import open_dataset

nbformat = pytest.importorskip("nbformat", reason="the notebook's packages need Python 3.11")
nbclient = pytest.importorskip("nbclient")

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_notebook_runs_with_fewer_steps_and_images(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("main.py", "autonl_tf"):
        (clone / name).symlink_to(ROOT / name)
    (clone / "flags").mkdir()
    for path in (ROOT / "flags").glob("*.flags"):  # the last batch is filled up, which costs as much as images
        (clone / "flags" / path.name).write_text(re.sub(r"batch_size=\d+", "batch_size=16", path.read_text()))
    monkeypatch.setattr(demo, "_SIZES", {"train": 16, "validation": 16})
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    open_dataset("demo", data_dir=str(clone / "runs" / "data"))
    book = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    (settings,) = [i for i, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", ())]
    fewer = f"work = {str(tmp_path)!r}\nsearch_steps, train_epochs, known_epochs = 6, 1, 3"
    book.cells.insert(settings + 1, nbformat.v4.new_code_cell(fewer))
    (training,) = [i for i, cell in enumerate(book.cells) if cell.source.startswith("recipe =")]
    # Six steps may close every LightNL; the last block gets one, so that there is something to explain.
    found = tmp_path / "search" / "arch.txt"
    end = f"path = pathlib.Path({str(found)!r})\nif 'nonlocal' not in path.read_text():\n"
    end += "    path.write_text(path.read_text().rstrip() + '_nonlocal0.25-1\\n')"
    book.cells.insert(training, nbformat.v4.new_code_cell(end))
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(clone)}}).execute()
    assert not (tmp_path / "elsewhere").exists()  # every cell takes the images that the first one made
    assert (tmp_path / "search" / "arch.txt").is_file()
    assert (tmp_path / "train" / "best").is_dir()
    assert (tmp_path / "known" / "tuned" / "best").is_dir()
    (pictures,) = [cell.outputs for cell in book.cells if "explain" in cell.source and cell.cell_type == "code"]
    assert "image/png" in pictures[-1].data


def test_the_notebook_is_kept_without_outputs():
    book = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    assert not [cell for cell in book.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
