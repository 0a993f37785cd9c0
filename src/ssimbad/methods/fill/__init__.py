"""The floor for flat art: each region that lines enclose takes one colour of the reference."""

from __future__ import annotations

from ssimbad.methods.declaration import Declaration, Row

METHOD = Declaration(rows={"fill": Row("Fill by region", "none")})
