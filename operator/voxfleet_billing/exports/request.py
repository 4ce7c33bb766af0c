"""What was asked for, and which lines a file has then. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from voxfleet_billing.charge import Charge
from voxfleet_billing.exports.focus import FocusVersion, focus_header, focus_lines
from voxfleet_billing.exports.lessor import LessorTemplate, lessor_header, lessor_lines
from voxfleet_billing.exports.tally import Tally
from voxfleet_billing.price_book import PriceBook


class ExportForm(StrEnum):
    FOCUS_1_2 = "focus-1.2"
    FOCUS_1_4 = "focus-1.4"
    LESSOR = "lessor"


FOCUS_VERSIONS = {ExportForm.FOCUS_1_2: FocusVersion.V1_2, ExportForm.FOCUS_1_4: FocusVersion.V1_4}


@dataclass(frozen=True, slots=True)
class Request:
    period: str
    form: ExportForm
    book: PriceBook | None
    lessor: str | None
    """Of this one alone."""
    template: LessorTemplate | None
    template_sha256: str | None
    voxfleet_version: str

    def header(self) -> str:
        if self.form is ExportForm.LESSOR:
            return lessor_header(self._template())
        return focus_header(FOCUS_VERSIONS[self.form])

    def lines(self, charges: Iterable[Charge], tally: Tally) -> Iterator[str]:
        """Those of the lessor, each with its end, and counted. Raises Unpriced, NoMoney, and what `charges` raises."""
        counted = tally.counted(line for line in charges if self.lessor in (None, line.lessor))
        if self.form is ExportForm.LESSOR:
            return lessor_lines(self._template(), counted)
        if self.book is None:
            raise ValueError("FOCUS needs a price book")
        return focus_lines(FOCUS_VERSIONS[self.form], self.period, counted, self.book)

    def _template(self) -> LessorTemplate:
        if self.template is None:
            raise ValueError("a lessor's format needs a template")
        return self.template
