"""What mkdocs does to a page on its way out."""

import re

ROLE = re.compile(r":(?:func|class|mod|meth|attr|exc|data):<code>(?:~[\w.]*\.)?([^<]+)</code>")


def on_page_content(html: str, **_: object) -> str:
    """Show the reStructuredText roles of docstrings, which Markdown leaves as they are, as plain code."""
    return ROLE.sub(r"<code>\1</code>", html)
