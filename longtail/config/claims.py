"""The paper's claims about its method, each as comparisons of rows."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from longtail.config.benchmarks import Frozen
from longtail.config.layouts import Row
from longtail.config.yaml_files import read_yaml
from longtail.errors import InputError, one_line

Measure = Literal["accuracy", "weight_change", "entropy_fall", "difficulty_range"]


def _row(name: Any) -> Any:
    if not isinstance(name, str):
        return name
    variant, _, head = name.partition("+")
    return {"label": name, "variant": variant, "head": head or None}


NamedRow = Annotated[Row, BeforeValidator(_row)]
"""Written as `Row.name`: `difficulty_net`, `difficulty_net+crt`."""


class Above(Frozen):
    """A row that the paper puts above others; without `than`, above 0."""

    higher: NamedRow
    than: list[NamedRow]


class Claim(Frozen):
    """What the paper claims, in short, where, and by which comparisons it is judged.

    `rule`: what is claimed of the comparisons. That each holds (all); that at most imbalances one does
    (often); that the best row changes with the imbalance (changes). `imbalances`: all that are planned, or
    that of Figures 2-4.
    """

    name: str
    section: str
    says: str
    measure: Measure = "accuracy"
    rule: Literal["all", "often", "changes"] = "all"
    imbalances: Literal["all", "figures"] = "all"
    comparisons: list[Above] = Field(min_length=1)

    @property
    def pairs(self) -> list[tuple[Row, Row | None]]:
        """The rows that are compared; None: with 0."""
        return [(above.higher, than) for above in self.comparisons for than in (above.than or [None])]


class Claims(Frozen):
    """All claims, in the order in which they are reported."""

    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _named_once(self) -> Claims:
        names = [claim.name for claim in self.claims]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"claim '{twice}' appears twice")
        return self


def read_claims(path: Path | None = None) -> list[Claim]:
    """The claims in `path`, by default the paper's. Raises InputError."""
    where = path or "longtail/config/claims.yaml"
    found = read_yaml(path or files("longtail.config") / "claims.yaml", where)
    try:
        return Claims.model_validate(found).claims
    except ValidationError as error:
        raise InputError(where, one_line(error)) from None
