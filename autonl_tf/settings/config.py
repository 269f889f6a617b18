"""The flags of one run, read once."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any


@dataclasses.dataclass(frozen=True)
class Config:
    """Every flag's value as an attribute, `config.train_steps`; the default where the command does not read it. A flag
    whose name is a word of Python has an underscore behind it, `config.from_`.

    Attributes:
      values: the flags by name.
      readers: the commands that read them.
      given: those that the user gave, as words of a command line.
      listing: the files of a class folder that is the `--dataset`, as `data.folder` has listed them.
    """

    values: dict[str, Any]
    readers: dict[str, Collection[str]]
    given: dict[str, str]
    listing: Any = None

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["values"][name.removesuffix("_")]
        except KeyError:
            raise AttributeError(f"no flag {name}") from None

    def replaced(self, **values: Any) -> Config:
        return dataclasses.replace(self, values=self.values | values)

    def read(self) -> dict[str, Any]:
        """The flags that this run's command reads."""
        return {name: value for name, value in self.values.items() if self.mode in self.readers[name]}
