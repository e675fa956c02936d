"""What a judge's free words mean: yes, no, or neither."""

import re
from typing import Literal

Answer = Literal["yes", "no", "unparsed"]

_YES, _NO = {"yes", "yeah", "true", "a"}, {"no", "false", "b"}


def parse_answer(text: str) -> Answer:
    """Return what a reply to a yes/no question says, by its first word alone.

    Examples
    --------
    >>> [parse_answer(text) for text in ("Yes.", "no", "both", "not sure", "snow", "(b) no")]
    ['yes', 'no', 'unparsed', 'unparsed', 'unparsed', 'no']
    """
    words = re.findall(r"[a-z0-9']+", text.lower())
    if not words:
        return "unparsed"
    if words[0] in ("a", "b") and len(words) > 1 and words[1] not in _YES | _NO:
        return "unparsed"  # "a dog" is no choice letter
    return "yes" if words[0] in _YES else "no" if words[0] in _NO else "unparsed"
