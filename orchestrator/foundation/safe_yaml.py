"""Reads untrusted YAML: plain settings alone, in bounded time and memory, each fault in one sentence.

Dates stay text, no tag makes anything but plain values, and neither nesting nor aliases can grow beyond what an
experiment has any use for.
"""

import codecs
import stat
from pathlib import Path
from typing import Any

import yaml

from trainables.errors import reason_of

_LARGEST = 256 * 2**10
"""Bytes of a file, and of the value of one override."""

_DEEPEST = 30
_MOST_VALUES = 50_000
"""Most values, with each alias counted as often as it is used."""

_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
_KINDS = {"tag:yaml.org,2002:seq": yaml.SequenceNode, "tag:yaml.org,2002:map": yaml.MappingNode}
_LONGEST_NUMBER = 64


class UnreadableYamlError(Exception):
    """Text is no YAML, or more than plain settings; the message is a part of a sentence."""


class _PlainLoader(yaml.SafeLoader):
    """Plain values alone; a key that is given twice is refused, where YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="a key must be a word, found a list or settings", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"'{key.value:.80}' is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> Any:
    """The plain values that a file holds.

    Raises:
        FileNotFoundError: If there is none.
        OSError: If it cannot be read.
        UnreadableYamlError: If it is no file, too large, no text, no YAML, or more than plain values.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadableYamlError("it is a folder" if path.is_dir() else "it is no file")
    with path.open("rb") as stream:
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise UnreadableYamlError(f"it is larger than {_LARGEST // 2**10} kB, which no experiment file needs")
    return parse_yaml(_text(data))


def parse_yaml(text: str) -> Any:
    """The plain values that a text means.

    Raises:
        UnreadableYamlError: If it is no YAML, or more than plain values.
    """
    if len(text) > _LARGEST:
        raise UnreadableYamlError(f"it is longer than {_LARGEST} characters")
    try:
        _check_depth(text)
        loader = _PlainLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_node(node, {}, [])
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise UnreadableYamlError(_reason(error)) from None
    except UnreadableYamlError:
        raise
    except Exception as error:  # PyYAML raises what its conversions raise
        raise UnreadableYamlError(f"a value is not of the kind that it is declared as ({reason_of(error)})") from None


def _text(data: bytes) -> str:
    # A byte order mark says which Unicode it is; without one it is UTF-8.
    marks = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
    encoding = next((name for mark, name in marks if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UnreadableYamlError(f"it is no text in {encoding.upper()}, line {line}") from None


def _check_depth(text: str) -> None:
    """Composing is recursive; the parser that gives its events is not."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise UnreadableYamlError(f"it is nested more than {_DEEPEST} deep, {_place(event.start_mark)}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_node(node: yaml.Node, sizes: dict[int, int], above: list[int]) -> int:
    """Refuses tags, numbers and aliases that are no plain settings; gives the values with aliases written out."""
    if id(node) in sizes:
        return sizes[id(node)]
    place = _place(node.start_mark)
    if id(node) in above:
        raise UnreadableYamlError(f"an alias refers to what it is itself a part of, {place}")
    if node.tag not in _TAGS:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise UnreadableYamlError(f"the tag {tag:.80} has no meaning here, {place}")
    if not isinstance(node, _KINDS.get(node.tag, yaml.ScalarNode)):
        kind = type(node).__name__.removesuffix("Node").lower()
        raise UnreadableYamlError(f"a {kind} is declared as something else, {place}")
    size = 1
    if isinstance(node, yaml.ScalarNode):
        if node.tag.endswith((":int", ":float")) and len(node.value) > _LONGEST_NUMBER:
            raise UnreadableYamlError(f"a number has {len(node.value)} digits, {place}")
    else:
        above.append(id(node))
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                size += _check_node(part, sizes, above)
        above.pop()
    if size > _MOST_VALUES:
        raise UnreadableYamlError(f"it comes to more than {_MOST_VALUES} values, {place}")
    sizes[id(node)] = size
    return size


def _reason(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        second = error.problem == "but found another document"
        problem = "it holds more than one document" if second else error.problem
        return f"{problem}, {_place(error.problem_mark)}"
    if isinstance(error, yaml.reader.ReaderError):
        return f"it holds the character {ascii(chr(error.character))[1:-1]}, which YAML does not allow"
    return " ".join(str(error).split())


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}"
