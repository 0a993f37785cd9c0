"""YAML 1.2, as DVC writes it: 1e-4 is a number, 2026-01-01 and no are text."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.representer import SafeRepresenter

_TAG = "tag:yaml.org,2002:"
_TEXTS = {f"{_TAG}{name}" for name in ("str", "timestamp", "value")}
_MERGE = f"{_TAG}merge"
_SCALARS = {*_TEXTS, _MERGE, *(f"{_TAG}{name}" for name in ("null", "bool", "int", "float"))}
_KNOWN = {*_SCALARS, f"{_TAG}map", f"{_TAG}seq"}
_MOST = 100_000  # values of a file; a few aliases of aliases make more than any memory holds


class _Constructor(SafeConstructor):
    """Text is what YAML 1.2 has no other type for."""


for _tag in _TEXTS:
    _Constructor.add_constructor(_tag, SafeConstructor.construct_yaml_str)


class _Representer(SafeRepresenter):
    """Numbers are written so that YAML 1.1 reads them as such, too."""

    def represent_float(self, data: float) -> ScalarNode:
        node = super().represent_float(data)
        if "e" in node.value and "." not in node.value:
            node.value = node.value.replace("e", ".0e")
        return node


_Representer.add_representer(float, _Representer.represent_float)


def _fault(node: Node, what: str) -> ValueError:
    return ValueError(f"line {node.start_mark.line + 1}: {what}")


def _check_key(key: Node, seen: set[str]) -> None:
    if not isinstance(key, ScalarNode):
        raise _fault(key, "a key is a list or a mapping")
    if key.tag not in _TEXTS and key.tag != _MERGE:
        raise _fault(key, f"key {key.value!r} is no text")
    if key.value in seen:
        raise _fault(key, f"key {key.value!r} stands twice")
    seen.add(key.value)


def _check(node: Node, around: tuple[Node, ...] = ()) -> int:
    """Refuse what JSON could not hold, and keys that stand twice: plain YAML lets the last one win.

    Returns:
        How many values there are, each as often as aliases repeat it.
    """
    if node.tag not in _KNOWN:
        raise _fault(node, f"unknown type {str(node.tag).removeprefix(_TAG)}")
    if isinstance(node, ScalarNode):
        return 1
    if any(node is other for other in around):
        raise _fault(node, "a value holds itself")
    inside = list(node.value)
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key, _ in node.value:
            _check_key(key, seen)
        inside = [value for _, value in node.value]
    count = 1
    for value in inside:
        count += _check(value, (*around, node))
        if count > _MOST:
            raise _fault(node, f"more than {_MOST} values")
    return count


def parse(text: str) -> Any:
    """The value of a document: text, numbers, booleans, None, lists, and mappings whose keys are text.

    Raises:
        ValueError: it is no YAML, or holds something else; its text is one line.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    yaml.composer.warn_double_anchors = False
    try:
        node = yaml.compose(io.StringIO(text))
        if node is None:
            return None
        _check(node)
        return yaml.constructor.construct_document(node)
    except RecursionError:
        raise ValueError("not read: values too deep in one another") from None
    except KeyError as error:  # ruamel's, of a scalar that is tagged as one
        raise ValueError(f"not valid YAML ({error} is no boolean)") from None
    except YAMLError as error:
        raise ValueError(f"not valid YAML ({' '.join(str(error).split())})") from None


def dumped(values: dict[str, Any]) -> str:
    """Plain values as a document that :func:`parse` reads, keys in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.width = 4096  # a long path stays on its key's line
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    with io.StringIO() as stream:
        yaml.dump(values, stream)
        return stream.getvalue()
