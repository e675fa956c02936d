"""Reports: whole without anything beside them, escaped, the same bytes for the same content, readable."""

import doctest
import html.parser
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.figure import Figure

from auscult.core import report as module
from auscult.core.errors import InputError
from auscult.core.intervals import Interval
from auscult.core.report import PALETTE, Report, write_index
from auscult.core.testing import assert_self_contained, files_below, imported_modules, run_command
from auscult.core.testing.browser import find_chromium, open_in_chromium

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'x' {{ 7 * 7 }} \x00\x1b \ud800"


class Outline(html.parser.HTMLParser):
    """Collects the text of each element and its attributes, in order."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_data(self, data):
        if self.elements:
            self.elements[-1][2] += data

    def of(self, *tags):
        return [(tag, attributes, text.strip()) for tag, attributes, text in self.elements if tag in tags]

    def texts(self, *tags):
        return [text for _, _, text in self.of(*tags)]


def plot(label="rate", seed=0):
    figure = Figure(figsize=(5, 3))
    axes = figure.subplots()
    axes.plot([0, 1], np.random.default_rng(seed).random(2), color=PALETTE[0], label=label)
    axes.fill_between([0, 1], [0, 0], [1, 1], hatch="//", alpha=0.2)
    axes.imshow([[0, 1], [1, 0]], extent=(0, 0.2, 0, 0.2), aspect="auto")
    axes.set_title(label)
    axes.legend()
    return axes


def everything():
    report = Report(f"Title {HOSTILE}", subtitle=f"Subtitle {HOSTILE}")
    report.text(f"First {HOSTILE}\n\nsecond").note("careful", kind="warning").note(HOSTILE)
    report.facts({"rows": 16281, HOSTILE: HOSTILE, "rate": {"value": 0.5, "ci": [0.4, 0.6]}})
    for heading in ("One", HOSTILE, "Three"):
        report.section(heading, "some text")
        report.table(
            [{"group": HOSTILE, "rate": Interval(0.31, 0.25, 0.38), "n": 12}, {"group": "b", "n": None}],
            caption=f"Caption {HOSTILE}",
        )
        report.figure(plot(), caption=HOSTILE, alt=HOSTILE)
    wide = pd.DataFrame(np.arange(60.0).reshape(2, 30) / 7, columns=[f"a long column {i}" for i in range(30)])
    return report.section("Wide").table(wide).section("w" * 300).text("x" * 500).facts({"y" * 100: "z" * 300})


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(module).failed == 0


def test_a_page_is_self_contained_and_balanced():
    page = everything().html()
    assert_self_contained(page)
    assert not re.search(r"https?:|//\w|<script|<link|<!DOCTYPE svg|xmlns|<metadata", page)
    assert_self_contained(Report("only a title").html())


def test_what_comes_from_data_is_shown_as_text():
    outline = Outline(everything().html())
    shown = "<script>alert(1)</script> & \"quoted\" 'x' {{ 7 * 7 }} \ufffd\ufffd \ufffd"
    assert not outline.of("script")
    assert outline.texts("title") == outline.texts("h1") == [f"Title {shown}"]
    assert shown in outline.texts("h2")
    assert f"First {shown}" in outline.texts("p")
    assert {shown} <= set(outline.texts("dt")) & set(outline.texts("dd")) & set(outline.texts("th"))
    assert shown in outline.texts("figcaption")
    assert {attributes["aria-label"] for _, attributes, _ in outline.of("svg")} == {shown}
    assert outline.of("meta")[-1][1] == {"name": "description", "content": f"Subtitle {shown}"}


def test_the_outline_is_accessible():
    outline = Outline(everything().html())
    levels = [int(tag[1]) for tag, _, _ in outline.of("h1", "h2", "h3", "h4")]
    assert levels == [1] + [2] * 5
    assert outline.of("html")[0][1] == {"lang": "en"}
    assert all(attributes.get("scope") in ("col", "row") for _, attributes, _ in outline.of("th"))
    ids = {attributes["id"]: text.strip() for _, attributes, text in outline.elements if "id" in attributes}
    for region in (attributes for _, attributes, _ in outline.of("div") if "role" in attributes):
        assert region["tabindex"] == "0"
        assert region.get("aria-label") or ids[region["aria-labelledby"]].startswith("Caption")
    assert all(attributes["role"] == "img" for _, attributes, _ in outline.of("svg"))
    assert [ids[a["href"][1:]] for _, a, _ in outline.of("a")] == outline.texts("a") == outline.texts("h2")


def test_two_sections_need_no_contents():
    page = Report("t").section("One").section("Two").html()
    assert not Outline(page).of("nav")


def cells(report):
    outline = Outline(report.html())
    return outline.texts("th"), outline.texts("td"), [a.get("class") for _, a, _ in outline.of("td")]


def test_numbers_are_right_aligned_and_missing_values_a_dash():
    rows = [{"mode": "a", "rate": 0.98, "n": 3, "note": "x"}, {"mode": "b", "rate": np.nan, "note": None}]
    heads, values, styles = cells(Report("t").table(rows, formats={"n": "03d"}))
    assert heads == ["mode", "rate", "n", "note", "a", "b"]
    assert values == ["0.980", "003", "x", "–", "–", "–"]
    assert styles == ["number", "number", None] * 2


def test_a_column_may_have_a_format_of_its_own():
    rows = [{"mode": "a", "rate": 0.984}, {"mode": "b", "rate": Interval(0.5, 0.25, 0.75)}]
    assert cells(Report("t").table(rows, formats={"rate": ".1%"}))[1] == ["98.4%", "50.0% (25.0% to 75.0%)"]
    assert cells(Report("t").table(rows[:1], formats={"rate": lambda x: f"<{x}>"}))[1] == ["<0.984>"]


def test_any_table_gives_the_same_cells():
    data = {"mode": ["a", "b"], "n": [1, 2]}
    expected = cells(Report("t").table([{"mode": "a", "n": 1}, {"mode": "b", "n": 2}]))
    frame = pd.DataFrame(data)
    picked = frame.iloc[[1, 0]].sort_values("mode")
    for table in (frame, frame.set_index("mode"), frame.set_index(pd.Index([7, 3])), picked, pa.table(data)):
        assert cells(Report("t").table(table)) == expected


def test_a_polars_frame_is_a_table():
    polars = pytest.importorskip("polars", reason="Polars is not among the test requirements of the core")
    assert cells(Report("t").table(polars.DataFrame({"mode": ["a"], "n": [1]})))[:2] == (["mode", "n", "a"], ["1"])


def test_an_unnamed_index_of_text_becomes_the_first_column():
    heads, values, _ = cells(Report("t").table(pd.DataFrame({"n": [1, 2]}, index=["a", "b"])))
    assert (heads, values) == (["", "n", "a", "b"], ["1", "2"])


def test_an_index_of_several_levels_becomes_columns():
    frame = pd.DataFrame({"sex": list("fmf"), "race": list("xxy"), "v": [1, 2, 3]})
    table = frame.groupby(["sex", "race"]).agg({"v": ["sum", "count"]})
    heads, values, _ = cells(Report("t").table(table))
    assert heads == ["sex", "race", "v / sum", "v / count", "f", "f", "m"]
    assert values[:3] == ["x", "1", "1"]


def test_no_rows_are_said():
    assert Outline(Report("t").table([], caption="Errors").html()).texts("p") == ["Errors: no rows."]
    assert Outline(Report("t").table(pd.DataFrame({"a": []})).html()).texts("p") == ["No rows."]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda r: r.table(5), "a int is no table"),
        (lambda r: r.table([[1, 2]]), "a list is no table"),
        (lambda r: r.table([{"a": 1}], formats={"b": ".1f"}), "column 'b'"),
        (lambda r: r.note("x", kind="danger"), "'danger'"),
        (lambda r: r.figure("plot.png", caption="c", alt="a"), "a str is no matplotlib figure"),
        (lambda r: r.figure(plot(), caption="c", alt=" "), "alt is empty"),
    ],
)
def test_what_cannot_be_shown_is_named(call, words):
    report = Report("t")
    before = report.html()
    with pytest.raises(InputError, match=words):
        call(report)
    assert report.html() == before


def test_plots_keep_their_text_scale_and_do_not_collide():
    report = Report("t")
    for label in ("<b>rate</b> & more", "<b>rate</b> & more", "性别 τ"):
        report.figure(plot(label), caption="c", alt="a")
    page = report.html()
    assert_self_contained(page)
    outline = Outline(page)
    assert outline.texts("text").count("<b>rate</b> & more") == 4
    assert outline.texts("text").count("性别 τ") == 2
    fonts = {a["style"] for _, a, text in outline.of("text") if text}
    assert all("'DejaVu Sans', 'Verdana', sans-serif" in font for font in fonts)
    for _, attributes, _ in outline.of("svg"):
        assert not {"width", "height"} & attributes.keys()
        assert attributes["viewbox"]
        assert re.fullmatch(r"max-width: \d+px", attributes["style"])
    ids = [a["id"] for _, a, _ in outline.elements if "id" in a]
    assert {i.rpartition("-")[0] for i in ids} == {"figure-1", "figure-2", "figure-3"}
    assert all(a["href"].startswith("data:image/png") for _, a, _ in outline.of("image"))


def test_any_part_of_a_figure_stands_for_all_of_it():
    pages = set()
    for take in (lambda f: f, lambda f: f.axes[0], lambda f: f.subfigs[0], lambda f: f.axes[1]):
        figure = Figure(figsize=(4, 3))
        for part, title in zip(figure.subfigures(1, 2), ("left", "right"), strict=True):
            part.subplots().set_title(title)
        pages.add(Report("t").figure(take(figure), caption="c", alt="a").html())
    assert len(pages) == 1
    assert {"left", "right"} <= set(Outline(pages.pop()).texts("text"))


def test_a_figure_of_pyplot_is_closed():
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    kept, shown = pyplot.figure(), pyplot.figure()
    Report("t").figure(shown.subplots(), caption="c", alt="a")
    assert pyplot.get_fignums() == [kept.number]
    pyplot.close(kept)


def test_importing_and_drawing_load_no_more_than_they_need():
    assert not imported_modules("import auscult.core.report") & {"matplotlib", "pandas", "pyarrow", "torch"}
    drawing = "from matplotlib.figure import Figure; from auscult.core.report import Report\n"
    drawing += "Report('t').figure(Figure().subplots(), caption='c', alt='a')"
    assert "matplotlib.pyplot" not in imported_modules(drawing)


def test_drawing_leaves_the_settings_of_matplotlib():
    import matplotlib

    before = dict(matplotlib.rcParams)
    Report("t").figure(plot(), caption="c", alt="a")
    assert dict(matplotlib.rcParams) == before


def test_the_same_content_gives_the_same_bytes():
    assert everything().html() == everything().html()
    report = everything()
    assert report.html() == report.html()
    code = f"import runpy, sys; page = runpy.run_path({__file__!r})['everything']().html()\n"
    code += "sys.stdout.buffer.write(page.encode())"
    first, second = run_command("-c", code), run_command("-c", code)
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout == everything().html()


def test_writing_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "report.html"
    assert Report("one").write(path) == str(path)
    Report("two").write(str(path))
    assert list(files_below(tmp_path)) == ["new/report.html"]
    assert path.read_bytes() == Report("two").html().encode()


def test_the_index_links_every_report_below(tmp_path):
    Report("Zwei & <b>", subtitle='with "quotes" and 1 < 2').write(tmp_path / "b #1" / "report.html")
    Report("One").write(tmp_path / "a" / "deep" / "report.html")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "report.html").write_bytes(b"not ours \xff")
    (tmp_path / "c" / "other.html").write_text("<title>no</title>")
    path = write_index(tmp_path)
    assert path == str(tmp_path / "index.html")
    page = Path(path).read_text(encoding="utf-8")
    assert_self_contained(page)
    outline = Outline(page)
    addresses = [attributes["href"] for _, attributes, _ in outline.of("a")]
    assert addresses == ["a/deep/report.html", "b%20%231/report.html", "c/report.html"]
    assert outline.texts("a") == ["One", "Zwei & <b>", "c/report.html"]
    assert outline.texts("span") == ['with "quotes" and 1 < 2']
    assert write_index(str(tmp_path)) == path
    assert Path(path).read_text(encoding="utf-8") == page


def test_an_index_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no report\.html below"):
        write_index(tmp_path)
    assert files_below(tmp_path) == {}


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on the path")
@pytest.mark.parametrize("width", [390, 1400])
def test_a_browser_shows_the_page_without_errors_requests_or_scrolling_sideways(tmp_path, width):
    report = everything().write(tmp_path / "a" / "report.html")
    for path in (report, write_index(tmp_path)):
        seen = open_in_chromium(Path(path), width)
        assert seen.console_errors == []
        assert seen.requests == []
        assert seen.scroll_width <= width
