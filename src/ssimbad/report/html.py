"""Pages from the templates beside this module."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """A file of ``report/templates`` with values filled in, escaped unless the template calls them safe."""
    environment = Environment(
        loader=PackageLoader("ssimbad.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values)
