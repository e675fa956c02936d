"""Layouts: how the texts of a stay are set as lines, feature by feature or visit by visit."""

from collections.abc import Iterable, Sequence
from itertools import compress

from auscult.ehr_prompt.cells import CaseCells
from auscult.ehr_prompt.config import Layout, Missing
from auscult.ehr_prompt.panel import Described

ELLIPSIS = "..."


class Setter:
    """Sets the texts of a stay in one layout.

    Formats are made once for each number of visits and filled at once for a whole stay.

    Parameters
    ----------
    layout, missing
        As in :class:`~auscult.ehr_prompt.config.PromptConfig`.
    described
        The variables, in order.
    units
        Whether the layout ``text`` names units.
    """

    def __init__(self, layout: Layout, missing: Missing, described: Iterable[Described], *, units: bool) -> None:
        self.layout, self.missing = layout, missing
        self._described = list(described)
        self._units = units
        self._formats: dict[int, list[str]] = {}
        self._whole: dict[int, str] = {}

    def set(self, cells: CaseCells, times: Sequence[str], *, variables: int | None = None) -> str:
        """Return the lines of one stay.

        Parameters
        ----------
        cells
            Its texts.
        times
            Of its steps, in words.
        variables
            Show the first so many variables that were measured, and an ellipsis for the others; None shows all.
        """
        keep: list[bool] | None = None
        if variables is not None or self.missing in ("omit", "delta"):
            keep = [any(seen) for seen in cells.observed.tolist()]
        cut = False
        if variables is not None and keep is not None and variables < len(keep):
            cut = True
            places = [place for place, kept in enumerate(keep) if kept][:variables]
            keep = [place in places for place in range(len(keep))]
        if self.layout == "batches":
            return self._visits(cells, times, keep, cut)
        if self.missing == "delta":
            lines = list(compress(self._deltas(cells), keep or ()))
        elif keep is None:
            return self._form(len(times)) % tuple(cells.texts)
        else:
            lines = [
                line % tuple(column)
                for line, column, kept in zip(self._lines(len(times)), cells.columns(), keep, strict=True)
                if kept
            ]
        return "\n".join([*lines, ELLIPSIS] if cut else lines)

    def _form(self, visits: int) -> str:
        if visits not in self._whole:
            self._whole[visits] = "\n".join(self._lines(visits))
        return self._whole[visits]

    def _lines(self, visits: int) -> list[str]:
        """Return one format a variable, with as many places as there are visits."""
        if visits not in self._formats:
            self._formats[visits] = [self._line(one, ["%s"] * visits) for one in self._described]
        return self._formats[visits]

    def _line(self, one: Described, values: Sequence[str]) -> str:
        name = one.display.replace("%", "%%")
        joined = ", ".join(values)
        if self.layout == "string":
            return f'- {name}: "{joined}"'
        if self.layout == "list":
            return f"- {name}: [{joined}]"
        unit = f" (in {one.unit})".replace("%", "%%") if self._units and one.unit else ""
        normal = f"; the reference range is {one.range}" if one.range else ""
        return f"{name}{unit} has {len(values)} value{'s' * (len(values) > 1)}: {joined}{normal}."

    def _deltas(self, cells: CaseCells) -> Iterable[str]:
        for one, texts, seen in zip(self._described, cells.columns(), cells.observed.tolist(), strict=True):
            values = [f"{text}@{visit}" for visit, text in enumerate(texts, 1) if seen[visit - 1]]
            yield self._line(one, ["%s"] * len(values)) % tuple(values)

    def _visits(self, cells: CaseCells, times: Sequence[str], keep: list[bool] | None, cut: bool) -> str:
        names = [one.display for one in self._described]
        end = [ELLIPSIS] if cut else []
        blocks = []
        for visit, (moment, texts, seen) in enumerate(
            zip(times, cells.visits(), cells.observed.T.tolist(), strict=True), 1
        ):
            shown = keep
            if self.missing == "delta":
                shown = seen if keep is None else [kept and here for kept, here in zip(keep, seen, strict=True)]
            pairs = zip(names, texts, strict=True)
            lines = [f"- {name}: {text}" for name, text in (pairs if shown is None else compress(pairs, shown))]
            blocks.append("\n".join([f"Visit {visit} ({moment}):", *lines, *end]))
        return "\n\n".join(blocks)
