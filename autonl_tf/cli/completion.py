"""Shell completion for the console command: the flags and their values, by `shtab`.

mkdir -p ~/.local/share/bash-completion/completions
python -m autonl_tf.cli.completion bash > ~/.local/share/bash-completion/completions/autonl

A flag's value follows after a space: `autonl --mode <Tab>`.
"""

from __future__ import annotations

import argparse
import sys

from autonl_tf.cli.parsing import FLAGS
from autonl_tf.errors import UserError
from autonl_tf.settings.flag import define_path, define_switch


def script(shell: str) -> str:
    """The completion script of a shell, for its start-up or its folder of completions.

    Raises:
      UserError: shtab is not installed, or does not know the shell.
    """
    try:
        import shtab
    except ImportError:
        raise UserError("shell completion needs shtab: python -m pip install 'autonl-tf[completion]'") from None
    if shell not in shtab.SUPPORTED_SHELLS:
        raise UserError(f"completion of {shell!r} is not known; accepted: {', '.join(shtab.SUPPORTED_SHELLS)}")
    parser = argparse.ArgumentParser("autonl", allow_abbrev=False)
    parser.add_argument("--flagfile", help="a file of flags, one a line").complete = shtab.FILE
    for name, flag in FLAGS.items():
        text = flag.text.partition(". ")[0].replace("%", "%%")
        if flag.define is define_switch:
            parser.add_argument(f"--{name}", f"--no{name}", action="store_true", help=text)
            continue
        action = parser.add_argument(f"--{name}", help=text, choices=flag.bounds.get("enum_values"))
        if not action.choices and flag.define is define_path:
            action.complete = shtab.DIRECTORY if name.endswith("_dir") else shtab.FILE
    return shtab.complete(parser, shell=shell)


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) != 1:
            raise UserError("usage: python -m autonl_tf.cli.completion SHELL")
        sys.stdout.write(script(arguments[0]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
