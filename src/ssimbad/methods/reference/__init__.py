"""The floor: the (warped) reference itself, handed back."""

from __future__ import annotations

from ssimbad.methods.declaration import Declaration, Row

METHOD = Declaration(rows={"reference": Row("Copy of the reference", "none")})
