"""The commands, a folder each.

`run.py` has `run(config)`, the work. `flags.py` is read before TensorFlow is imported, and has

- a docstring, whose first line `--help` prints;
- `FLAGS`, the flags that this command alone reads;
- `REQUIRED`, the names of those without which it does nothing;
- perhaps `check(config)`: the config, completed, if its flags go together;
- perhaps `check_files(config)`: the config, with what was found of the data, if the files that they name do.

Both checks raise UserError, and what they have looked at is not looked at again. What several commands set up from
their config is in `autonl_tf.prepare`.
"""
