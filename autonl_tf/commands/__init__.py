"""The commands, one a module, without TensorFlow: what each reads and what must hold before it begins.

A module has

- a docstring, whose first line `--help` prints;
- `FLAGS`, the flags that it alone reads;
- `REQUIRED`, the names of those without which it does nothing;
- perhaps `check(config)`: the config, completed, if its flags go together;
- perhaps `check_files(config)`: the config, with what was found of the data, if the files that they name do.

Both raise UserError, and what they have looked at is not looked at again. The work itself is `run(config)` of the
module of the same name in `autonl_tf.modes`.
"""
