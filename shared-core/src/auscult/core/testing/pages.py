"""Reading an HTML page for what a reader of the file alone would miss."""

import re
from html.parser import HTMLParser

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_FORBIDDEN = {"applet", "base", "embed", "frame", "iframe", "link", "object", "portal"}
_LOADING = {
    "action", "background", "data", "formaction", "href", "imagesrcset", "manifest", "ping", "poster", "src",
    "srcset", "xlink:href",
}  # fmt: skip
_STYLED = {
    "clip-path", "cursor", "fill", "filter", "marker-end", "marker-mid", "marker-start", "mask", "stroke",
    "style",
}  # fmt: skip


def assert_self_contained(html: str) -> None:
    """Assert that a page is whole without anything beside it.

    Its tags are balanced, its ids unique and every reference to one resolves; it says its language, character
    set and title; nothing in it is loaded from elsewhere. A link that a reader may follow loads nothing and
    is allowed.

    Parameters
    ----------
    html
        The text of the page.

    Raises
    ------
    AssertionError
        Lists everything that is wrong.
    """
    page = _Reader()
    page.feed(html)
    page.close()
    problems = page.problems + [f"<{tag}> is never closed" for tag in page.open]
    problems += [f"id {i!r} is given twice" for i in sorted({i for i in page.ids if page.ids.count(i) > 1})]
    problems += [f"#{i} leads nowhere" for i in sorted(page.references - set(page.ids))]
    problems += [f"the page has no {thing}" for thing in sorted(page.wanted)]
    assert not problems, "not a self-contained page: " + "; ".join(problems)


class _Reader(HTMLParser):
    """Collects what is wrong with a page, its ids and the references to them."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.wanted = {"doctype", "language", "character set", "title"}

    def handle_decl(self, decl: str) -> None:
        if decl.lower() == "doctype html":
            self.wanted.discard("doctype")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look_at(tag, {name: value or "" for name, value in attrs})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look_at(tag, {name: value or "" for name, value in attrs})
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.problems.append(f"</{tag}> at line {self.getpos()[0]} closes {self.open[-1:] or 'nothing'}")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self._look_at_style(data)
        if self.open[-2:] == ["head", "title"] and data.strip():
            self.wanted.discard("title")

    def _look_at(self, tag: str, attributes: dict[str, str]) -> None:
        if tag in _FORBIDDEN:
            self.problems.append(f"<{tag}> at line {self.getpos()[0]} loads from elsewhere")
        if tag == "html" and attributes.get("lang"):
            self.wanted.discard("language")
        if tag == "meta" and attributes.get("charset", "").lower() == "utf-8":
            self.wanted.discard("character set")
        if tag == "meta" and attributes.get("http-equiv", "").lower() == "refresh":
            self.problems.append("<meta> sends the reader elsewhere")
        for name, value in attributes.items():
            value = value.strip()
            if name == "id":
                self.ids.append(value)
            elif name in _STYLED:
                self._look_at_style(value)
            elif name in _LOADING and value.startswith("#"):
                self.references.add(value[1:])
            elif name in _LOADING and not self._harmless(tag, name, value):
                self.problems.append(f"<{tag} {name}={value[:80]!r}> loads from elsewhere")

    def _look_at_style(self, style: str) -> None:
        if "@import" in style.lower():
            self.problems.append("@import in a style loads from elsewhere")
        for target in re.findall(r"url\(\s*['\"]?([^'\")]*)", style, re.IGNORECASE):
            if target.startswith("#"):
                self.references.add(target[1:])
            elif not target.startswith("data:"):
                self.problems.append(f"url({target[:80]}) in a style loads from elsewhere")

    @staticmethod
    def _harmless(tag: str, name: str, value: str) -> bool:
        if tag in ("a", "area") and name == "href":
            return not value.lower().startswith("javascript:")
        return value.startswith("data:")
