"""Random lists of operations on random data: refused when they are saved, or run without anything but their failure.

`HYPOTHESIS_PROFILE=long` tries 100,000 of them.
"""

import os
import random
from copy import deepcopy
from decimal import Decimal
from typing import Any

from flowker import jsontext
from flowker.domain.changes import InvalidMapping
from flowker.domain.kazaam import Occasion
from flowker.domain.mappings import MappingFailed
from flowker.domain.specs import OPERATIONS
from flowker.domain.transforms import compile_transforms

LISTS = 100_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 5_000

OCCASION = Occasion("2026-03-17T14:35:00.000000Z", "one:node")

ROOTS = ["a", "b", "items", "unit price", "@type", "a\\.b", "$", '$["x.y"]']
STEPS = [".a", ".b", ".items", "[0]", "[1]", "[*]", "[+]", "[-]", '["x.y"]']
ODD_PATHS = ["", "[0]", "a.", "a[", "a[-1]", "a..b", " a ", "a[99]", "a[100]", "a" * 600, ".".join("a" * 20), "é"]
SCALARS = [
    *(None, True, False, 0, 1, -5, 10**30, Decimal("100.10"), Decimal("-0"), Decimal("1E+999")),
    *("", "007", "x" * 50, "2017-07-22T08:15:27Z", "1500000000", "Sat Jul 22 08:15:27 +0000 2017"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
]
LAYOUTS = ["$unix", "$now", "2006-01-02T15:04:05Z07:00", "Mon Jan _2 15:04:05 -0700 2006", "YYYY", "15:04"]


class Author:
    """Writes operations that are mostly right, and data that mostly have what they ask for."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same examples each time

    def operations(self) -> Any:
        return self._mostly([self._mostly(self._operation()) for _ in range(self._random.choice([1, 1, 1, 2, 3]))])

    def data(self) -> Any:
        a = [{"a": self._value(), "items": [1, 2]}, {"b": self._value()}]
        usual = {"a": a, "items": [self._value() for _ in range(3)], "b": {"a": self._value()}}
        return self._random.choice([usual, {"a": self._value(), "items": self._value()}, self._value()])

    def _operation(self) -> Any:
        name = self._random.choice(list(OPERATIONS))
        entry = {"operation": self._mostly(name), "spec": self._mostly(self._spec(name))}
        for member, value in (
            ("over", self._path()),
            (self._random.choice(["require", "required"]), self._chance(0.5)),
            ("inplace", self._chance(0.7)),
            ("keySeparator", self._random.choice([":", "->", ".", "["])),
        ):
            if self._chance(0.2):
                entry[member] = self._mostly(value)
        return entry

    def _spec(self, name: str) -> Any:
        if name == "concat":
            sources = [self._mostly({"path": self._path()}), self._mostly({"value": self._mostly("v")})]
            return {"sources": self._mostly(sources), "targetPath": self._path(), "delim": self._mostly(",")}
        if name == "extract":
            return {"path": self._path()}
        if name == "delete":
            return {"paths": self._mostly([self._path() for _ in range(2)])}
        spec = {self._path(): self._mostly(self._member(name)) for _ in range(self._random.choice([1, 1, 2]))}
        return {**spec, "ignore": [self._value()]} if name == "coalesce" and self._chance(0.3) else spec

    def _member(self, name: str) -> Any:
        if name == "shift":
            return self._random.choice([self._path(), [self._path()]])
        if name == "coalesce":
            return [self._path() for _ in range(2)]
        if name == "timestamp":
            return {member: self._mostly(self._random.choice(LAYOUTS)) for member in ("inputFormat", "outputFormat")}
        if name == "uuid":
            names = [self._mostly({"path": self._path(), "default": self._mostly("d")})]
            named = {"version": self._random.choice([3, 5]), "namespace": self._mostly("DNS"), "names": names}
            return self._random.choice([{"version": 4}, named])
        if name == "default":
            return self._value()
        parameter = {"remove_characters": "characters", "add_prefix": "prefix", "add_suffix": "suffix"}.get(name)
        return {parameter: self._mostly("a0.")} if parameter else {}

    def _path(self) -> Any:
        if self._chance(0.05):
            return self._random.choice(ODD_PATHS)
        return self._random.choice(ROOTS) + "".join(
            self._random.choices(STEPS, k=self._random.choice([0, 0, 1, 1, 2, 3]))
        )

    def _value(self, depth: int = 0) -> Any:
        if depth > 2 or self._chance(0.7):
            return self._random.choice(SCALARS)
        if self._chance(0.5):
            return [self._value(depth + 1) for _ in range(self._random.randrange(4))]
        names = ["a", "b", "items", "x.y", "unit price", "path", "value"]
        return {self._random.choice(names): self._value(depth + 1) for _ in range(self._random.randrange(4))}

    def _mostly(self, value: Any) -> Any:
        return self._value() if self._chance(0.03) else value

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability


def test_whatever_an_author_writes_is_refused_or_fails_by_name() -> None:
    """It never raises anything else, changes nothing that it was given, and makes what can be written down."""
    author = Author(20_260_317)
    refused = failed = made = run = 0
    for _ in range(LISTS):
        try:
            transforms = compile_transforms(author.operations())
        except InvalidMapping:
            refused += 1
            continue
        for data in (author.data(), author.data()):
            before = deepcopy(data)
            run += 1
            try:
                result = transforms.apply(data, OCCASION)
            except MappingFailed as failure:
                failed += str(failure).startswith("transforms[")
            else:
                made += bool(jsontext.encode(result))
            assert data == before

    assert failed + made == run
    # The examples are worth something: enough of them run, and enough of those that run fail.
    assert min(refused, failed, made) > LISTS // 50
