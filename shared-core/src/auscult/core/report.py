"""One self-contained HTML page with text, tables and plots, and an index of many such pages.

A page loads nothing: no script, no font, no picture from elsewhere; plots are inline SVG whose text stays text.
The same content gives the same bytes. Everything that comes from data is escaped.

>>> page = Report("Who is missed?", subtitle="Adult census, test split")
>>> page = page.section("Rates").facts({"rows": 16281, "base rate": 0.2362})
>>> page = page.table([{"sex": "Female", "rate": 0.114}, {"sex": "Male", "rate": 0.3}], caption="Rate by sex")
>>> "Female" in page.html()
True
"""

import functools
import html.parser
import importlib.resources
import io
import re
import sys
import urllib.parse
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from xml.etree import ElementTree

import jinja2
from markupsafe import Markup

from auscult.core.errors import InputError
from auscult.core.files import replace_atomically
from auscult.core.formatting import Format, as_interval, format_column, format_value, is_number
from auscult.core.intervals import is_missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours for plots that stay apart under the common kinds of colour blindness (Okabe and Ito), on white."""


class Report:
    """A page that is filled from top to bottom; every method that adds something returns the report.

    Parameters
    ----------
    title
        The page's heading and its name in an index.
    subtitle
        One line below it: the data, the split, the model.
    """

    def __init__(self, title: str, *, subtitle: str | None = None) -> None:
        self.title = title
        self.subtitle = subtitle
        self._sections: list[dict[str, Any]] = []
        self._count = {"section": 0, "table": 0, "figure": 0}

    def section(self, heading: str, text: str | None = None) -> Self:
        """Start a section; with three or more the page begins with links to them."""
        self._sections.append({"id": self._next("section"), "heading": heading, "blocks": []})
        return self if text is None else self.text(text)

    def text(self, text: str) -> Self:
        """Add text; an empty line starts a new paragraph."""
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            self._add("text", text=paragraph)
        return self

    def note(self, text: str, kind: Literal["info", "warning"] = "info") -> Self:
        """Add a highlighted remark."""
        if kind not in ("info", "warning"):
            raise InputError(f"a note of kind {kind!r} is not known: use 'info' or 'warning'")
        return self._add("note", text=text, level=kind)

    def facts(self, facts: Mapping[str, object]) -> Self:
        """Add a list of names and values; numbers and intervals are formatted as in a table."""
        return self._add("facts", facts=[(name, format_value(value)) for name, value in facts.items()])

    def table(self, rows: Any, *, caption: str | None = None, formats: Mapping[str, Format] | None = None) -> Self:
        """Add a table that scrolls inside its own frame where it is too wide for the page.

        Parameters
        ----------
        rows
            A pandas, Polars or Arrow table, or a sequence of mappings from column name to value. A pandas index
            that has a name, or is more than row numbers, becomes the first columns. A value may be an
            :class:`~auscult.core.intervals.Interval` or its ``{"value": x, "ci": [low, high]}``.
        caption
            Says what the table shows.
        formats
            By column name, a format specification (``".1%"``) or a function of the value.

        Raises
        ------
        InputError
            For rows of another kind, or a format of a column that is not there.
        """
        names, columns = _columns(rows)
        formats = formats or {}
        unknown = [name for name in formats if name not in names]
        if unknown and columns:
            raise InputError(f"a format is given for column {unknown[0]!r}, but the columns are {names}")
        if not columns or not columns[0]:
            return self.text(f"{caption}: no rows." if caption else "No rows.")
        heads, texts = [], []
        for position, (name, values) in enumerate(zip(names, columns, strict=True)):
            numeric = all(is_missing(value) or is_number(value) or as_interval(value) for value in values)
            heads.append({"name": name, "style": "number" if numeric else None if position else "first"})
            texts.append(format_column(values, formats.get(name)))
        rows = list(zip(*texts, strict=True))
        return self._add("table", id=self._next("table"), caption=caption, columns=heads, rows=rows)

    def figure(self, figure: "Figure | Axes", *, caption: str, alt: str) -> Self:
        """Add a matplotlib figure as inline SVG, scaled to the page, and close it.

        Parameters
        ----------
        figure
            A figure, or any axes of it.
        caption
            Says what the plot shows.
        alt
            Says what is to be seen, to those who cannot see it.

        Raises
        ------
        InputError
            For anything but a figure or axes, or an empty ``alt``.
        """
        if not alt.strip():
            raise InputError("alt is empty: say in a sentence what is to be seen in the figure")
        svg = _inline_svg(_root_figure(figure), self._next("figure"), alt)
        return self._add("figure", svg=svg, caption=caption)

    def html(self) -> str:
        """Return the page; the same content gives the same text."""
        page = _template().render(title=self.title, subtitle=self.subtitle, sections=self._sections)
        return _printable(page)

    def write(self, path: str | Path) -> str:
        """Write the page to a file, which holds all of it or what it held before, and return the file's path."""
        content = self.html().encode()
        replace_atomically(Path(path), lambda partial: partial.write_bytes(content))
        return str(path)

    def _add(self, kind: str, **block: Any) -> Self:
        if not self._sections:
            self._sections.append({"heading": None, "blocks": []})
        self._sections[-1]["blocks"].append({"kind": kind, **block})
        return self

    def _next(self, kind: str) -> str:
        self._count[kind] += 1
        return f"{kind}-{self._count[kind]}"


def write_index(folder: str | Path) -> str:
    """Write ``index.html`` with a link to every ``report.html`` below a folder, and return its path.

    Raises
    ------
    InputError
        Where there is no report.
    """
    root = Path(folder)
    found = sorted(root.glob("**/report.html"), key=lambda path: path.relative_to(root).as_posix())
    if not found:
        raise InputError(f"no report.html below {str(folder)!r}: write a report there first")
    index = Report("Reports", subtitle=f"{len(found)} report{'s' * (len(found) > 1)}")
    index._add("reports", reports=[_link(path, root) for path in found])
    return index.write(root / "index.html")


def _columns(rows: Any) -> tuple[list[str], list[list[Any]]]:
    """Return the names and values of the columns of any table that :meth:`Report.table` takes."""
    if hasattr(rows, "itertuples"):
        index, names = rows.index, [_column_name(name) for name in rows.columns]
        records: Iterable[tuple[Any, ...]] = rows.itertuples(index=False, name=None)
        row_numbers = index.nlevels == 1 and index.name is None and index.dtype.kind in "iu"
        if not row_numbers:
            names = [_column_name(name) for name in index.names] + names
            labels = (label if index.nlevels > 1 else (label,) for label in index)
            records = (label + record for label, record in zip(labels, records, strict=True))
        table = list(records)
        return names, [[record[i] for record in table] for i in range(len(names))]
    for method in ("to_dicts", "to_pylist"):
        if hasattr(rows, method):
            rows = getattr(rows, method)()
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise InputError(
            f"a {type(rows).__name__} is no table: pass a data frame or a list of mappings, one for each row"
        )
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return [_column_name(key) for key in keys], [[row.get(key) for row in rows] for key in keys]


def _column_name(name: Any) -> str:
    if isinstance(name, tuple):
        return " / ".join(str(part) for part in name if part != "")
    return "" if name is None else str(name)


def _root_figure(part: Any) -> "Figure":
    """Return the figure that axes or a subfigure belong to."""
    from matplotlib.figure import Figure

    figure = part
    while not isinstance(figure, Figure):
        figure = getattr(figure, "figure", None)
        if figure is None:
            raise InputError(f"a {type(part).__name__} is no matplotlib figure or axes: pass one of them")
    return figure


def _inline_svg(figure: "Figure", prefix: str, alt: str) -> Markup:
    """Draw a figure as an SVG element: ids begin with ``prefix``, text stays text, nothing refers elsewhere."""
    import matplotlib

    drawn = io.BytesIO()
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "auscult",
        "font.sans-serif": ["DejaVu Sans", "Verdana"],
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # The reader's browser draws the text and has its own fonts for what ours lack.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(drawn, format="svg", bbox_inches="tight", metadata=nothing)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)
    root = ElementTree.fromstring(_printable(drawn.getvalue().decode()))
    _strip(root, prefix)
    width = float(root.attrib.pop("width").removesuffix("pt")) * 4 / 3
    del root.attrib["height"], root.attrib["version"]
    root.attrib |= {"role": "img", "aria-label": alt, "style": f"max-width: {width:.0f}px"}
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _strip(root: ElementTree.Element, prefix: str) -> None:
    """Take namespaces, style sheets, unused ids and white space out of an SVG, and rename the ids that are used."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("style", "metadata"):
                parent.remove(child)
    used = set(re.findall(r"url\(#([^)]+)\)", " ".join(v for e in root.iter() for v in e.attrib.values())))
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(name): value for name, value in element.attrib.items()}
        if element.get("href", "").startswith("#"):
            used.add(element.attrib["href"][1:])
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        for name, value in element.attrib.items():
            if name == "id":
                value = f"{prefix}-{value}"
            elif name == "href" and value.startswith("#"):
                value = f"#{prefix}-{value[1:]}"
            elif name == "d":
                value = " ".join(value.split())
            element.attrib[name] = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", value)
        if element.tag not in ("text", "tspan") and not (element.text or "").strip():
            element.text = None
        element.tail = None if not (element.tail or "").strip() else element.tail


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _printable(text: str) -> str:
    """Put the replacement character for what HTML and XML cannot hold: control and half characters."""
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


@functools.cache
def _template() -> jinja2.Template:
    source = importlib.resources.files("auscult.core").joinpath("templates/report.html.j2")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source.read_text(encoding="utf-8"))


def _link(path: Path, root: Path) -> dict[str, str]:
    """Return the relative address, title and subtitle of a report, read from its page."""
    address = path.relative_to(root).as_posix()
    head = _Head()
    head.feed(path.read_text(encoding="utf-8", errors="replace"))
    return {
        "address": urllib.parse.quote(address),
        "title": head.title.strip() or address,
        "subtitle": head.subtitle,
    }


class _Head(html.parser.HTMLParser):
    title, subtitle, _in_title = "", "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self._in_title = tag == "title"
        if tag == "meta" and found.get("name") == "description":
            self.subtitle = found.get("content") or ""

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
