"""The specs of operations: what each says, compiled by its name, or refused by its place."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_DNS, NAMESPACE_OID, NAMESPACE_URL, NAMESPACE_X500, UUID

from flowker.domain.changes import (
    NAME_CHARACTERS_MAX,
    NOW,
    PARAMETER_CHARACTERS_MAX,
    TEXT_CHANGES,
    InvalidMapping,
    compile_now,
    compile_reformat,
    compile_text_change,
    refuse_others,
)
from flowker.domain.kazaam import (
    Changed,
    Default,
    Delete,
    Extract,
    FirstOf,
    Joined,
    Literal,
    Maker,
    Moved,
    Name,
    NewUuid,
    Now,
    Operation,
    Pass,
    Write,
)
from flowker.domain.mappings import ENTRIES_MAX, compile_path_at
from flowker.domain.paths import ALL
from flowker.domain.places import End, Place, find_overlap, misfit_of_target, parse_kazaam

Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What an operation says beside its spec."""

    required: bool
    in_place: bool
    separator: str

    def source(self, text: Any, place: str) -> Place:
        source: Place = compile_path_at(text, place, lambda path: parse_kazaam(path, self.separator))
        if any(isinstance(step, End) for step in source.steps):
            raise InvalidMapping(place, "has [+] or [-], which only a target can have")
        return source

    def target(self, text: Any, place: str, *, each: bool = False) -> Place:
        """`each` says that it may have `[*]`: then every item is written to."""
        target: Place = compile_path_at(text, place, lambda path: parse_kazaam(path, self.separator))
        misfit = misfit_of_target(target.steps)
        if misfit is None and ALL in target.steps and not each:
            misfit = "has [*], which this target cannot have: over leads through the items of a list"
        if misfit is not None:
            raise InvalidMapping(place, misfit)
        return target


def _compile_pass(_: Spec, __: Options, ___: str) -> Operation:
    return Pass()


def _compile_shift(spec: Spec, options: Options, place: str) -> Operation:
    writes = []
    for path, source in spec.items():
        here = _member(place, path)
        wrapped = isinstance(source, list)
        if wrapped and len(source) != 1:
            raise InvalidMapping(here, "must be a path, or a list of one path")
        moved = Moved(options.source(source[0] if wrapped else source, here), wrapped, options.required)
        writes.append((options.target(path, here), moved))
    return _write(writes, place, in_place=options.in_place)


def _compile_concat(spec: Spec, options: Options, place: str) -> Operation:
    refuse_others(spec, ("sources", "targetPath", "delim"), place)
    sources = spec.get("sources")
    if not isinstance(sources, list) or not 1 <= len(sources) <= ENTRIES_MAX:
        raise InvalidMapping(f"{place}.sources", f"must be a list of 1 to {ENTRIES_MAX} sources")
    delimiter = _text(spec.get("delim", ""), f"{place}.delim")
    pieces = tuple(_piece(source, options, f"{place}.sources[{index}]") for index, source in enumerate(sources))
    target = options.target(spec.get("targetPath"), f"{place}.targetPath")
    return _write([(target, Joined(pieces, delimiter, options.required))], place)


def _piece(source: Any, options: Options, place: str) -> Literal | Place:
    if not isinstance(source, dict) or ("value" in source) is ("path" in source):
        raise InvalidMapping(place, "must be an object with either value or path")
    refuse_others(source, ("value", "path"), place)
    if "value" in source:
        return Literal(_text(source["value"], f"{place}.value"))
    return options.source(source["path"], f"{place}.path")


def _compile_coalesce(spec: Spec, options: Options, place: str) -> Operation:
    if options.required:
        raise InvalidMapping(place.removesuffix(".spec"), "cannot be required: coalesce takes what is there")
    ignored = spec.get("ignore", [])
    if not isinstance(ignored, list) or len(ignored) > ENTRIES_MAX:
        raise InvalidMapping(f"{place}.ignore", f"must be a list of at most {ENTRIES_MAX} values")
    writes = []
    for path, sources in spec.items():
        if path == "ignore":
            continue
        here = _member(place, path)
        if not isinstance(sources, list) or not 1 <= len(sources) <= ENTRIES_MAX:
            raise InvalidMapping(here, f"must be a list of 1 to {ENTRIES_MAX} paths")
        first = FirstOf(tuple(options.source(source, here) for source in sources), tuple(ignored))
        writes.append((options.target(path, here), first))
    if not writes:
        raise InvalidMapping(place, "must have at least one target")
    return _write(writes, place)


def _compile_extract(spec: Spec, options: Options, place: str) -> Operation:
    refuse_others(spec, ("path",), place)
    return Extract(options.source(spec.get("path"), f"{place}.path"), options.required)


def _compile_default(spec: Spec, options: Options, place: str) -> Operation:
    writes = [(options.target(path, _member(place, path), each=True), Default(value)) for path, value in spec.items()]
    return _write(writes, place)


def _compile_delete(spec: Spec, options: Options, place: str) -> Operation:
    refuse_others(spec, ("paths",), place)
    paths = spec.get("paths")
    if not isinstance(paths, list) or not 1 <= len(paths) <= ENTRIES_MAX:
        raise InvalidMapping(f"{place}.paths", f"must be a list of 1 to {ENTRIES_MAX} paths")
    places = []
    for index, path in enumerate(paths):
        here = f"{place}.paths[{index}]"
        found = options.source(path, here)
        if ALL in found.steps or not found.steps:
            raise InvalidMapping(here, "must lead to one member or item: over leads through the items of a list")
        places.append(found)
    return Delete(tuple(places), options.required)


def _compile_timestamp(spec: Spec, options: Options, place: str) -> Operation:
    writes: list[tuple[Place, Maker]] = []
    for path, config in spec.items():
        here = _member(place, path)
        target = options.target(path, here, each=True)
        if isinstance(config, dict) and config.get("inputFormat") == NOW:
            writes.append((target, Now(compile_now(config, here))))
        else:
            writes.append((target, Changed(compile_reformat(config, here), options.required)))
    return _write(writes, place)


def _compile_uuid(spec: Spec, options: Options, place: str) -> Operation:
    writes = []
    for path, config in spec.items():
        here = _member(place, path)
        writes.append((options.target(path, here), _new_uuid(config, options, here)))
    return _write(writes, place)


NAMESPACES = {"DNS": NAMESPACE_DNS, "URL": NAMESPACE_URL, "OID": NAMESPACE_OID, "X500": NAMESPACE_X500}


def _new_uuid(config: Any, options: Options, place: str) -> NewUuid:
    version = config.get("version") if isinstance(config, dict) else None
    if not isinstance(version, int) or version not in (3, 4, 5):
        raise InvalidMapping(place, "must be an object with version 3, 4 or 5")
    if version == 4:
        refuse_others(config, ("version",), place)
        return NewUuid(4)
    refuse_others(config, ("version", "namespace", "names"), place)
    names = config.get("names")
    if not isinstance(names, list) or not 1 <= len(names) <= ENTRIES_MAX:
        raise InvalidMapping(f"{place}.names", f"must be a list of 1 to {ENTRIES_MAX} names")
    namespace = _namespace(config.get("namespace"), f"{place}.namespace")
    found = tuple(_name(name, options, f"{place}.names[{index}]") for index, name in enumerate(names))
    return NewUuid(version, namespace, found)


def _namespace(text: Any, place: str) -> UUID:
    if isinstance(text, str) and text in NAMESPACES:
        return NAMESPACES[text]
    if isinstance(text, str) and re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        return UUID(text)
    raise InvalidMapping(place, f"must be a UUID, or one of {', '.join(NAMESPACES)}")


def _name(name: Any, options: Options, place: str) -> Name:
    if not isinstance(name, dict):
        raise InvalidMapping(place, "must be an object with path, and default")
    refuse_others(name, ("path", "default"), place)
    source = options.source(name.get("path"), f"{place}.path")
    default = name.get("default")
    return Name(source, None if default is None else _text(default, f"{place}.default"))


def _compile_changes(kind: str) -> Callable[[Spec, Options, str], Operation]:
    """One of the five: each member of the spec is the path of a text, with the operation's parameters."""

    def compile_it(spec: Spec, options: Options, place: str) -> Operation:
        writes = []
        for path, config in spec.items():
            here = _member(place, path)
            change = compile_text_change(kind, config, here)
            writes.append((options.target(path, here, each=True), Changed(change, options.required)))
        return _write(writes, place)

    return compile_it


def _write(writes: "list[tuple[Place, Any]]", place: str, *, in_place: bool = True) -> Operation:
    overlap = find_overlap(target.steps for target, _ in writes)
    if overlap is not None:
        raise InvalidMapping(_member(place, writes[overlap[0]][0].text), "overlaps another target of the operation")
    return Write(tuple(writes), in_place)


def _member(place: str, path: str) -> str:
    return f'{place}["{path[:NAME_CHARACTERS_MAX]}"]'


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str) or len(value) > PARAMETER_CHARACTERS_MAX:
        raise InvalidMapping(place, f"must be a string of at most {PARAMETER_CHARACTERS_MAX} characters")
    return value


OPERATIONS: Mapping[str, Callable[[Spec, Options, str], Operation]] = {
    "shift": _compile_shift,
    "concat": _compile_concat,
    "coalesce": _compile_coalesce,
    "extract": _compile_extract,
    "default": _compile_default,
    "delete": _compile_delete,
    "timestamp": _compile_timestamp,
    "uuid": _compile_uuid,
    "pass": _compile_pass,
    **{kind: _compile_changes(kind) for kind in TEXT_CHANGES},
}
