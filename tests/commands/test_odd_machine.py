"""What a user's machine has set changes nothing: files of Keras and Matplotlib, and variables of TensorFlow."""

from __future__ import annotations

import json

from mode_cases import command


def test_files_and_variables_of_the_user_neither_stop_nor_change_a_mode(home, trained, tmp_path, monkeypatch):
    (tmp_path / ".keras").mkdir()
    odd = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1, "backend": "jax"}
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(odd))
    (tmp_path / "rc").write_bytes(b"font.size: \xff")
    for name, value in {
        "HOME": tmp_path,
        "KERAS_BACKEND": "jax",
        "TF_USE_LEGACY_KERAS": "0",
        "TF_DETERMINISTIC_OPS": "1",
        "TF_FUNCTION_JIT_COMPILE_DEFAULT": "1",
        "MATPLOTLIBRC": tmp_path / "rc",
        "MPLBACKEND": "nonsense",
    }.items():
        monkeypatch.setenv(name, str(value))
    words = [f"--model_dir={home}/trained", f"--images={home}/pictures/val/ant/0.jpg", "--output=~/maps"]
    done = command("--mode=explain", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "maps" / "0.png").is_file()
