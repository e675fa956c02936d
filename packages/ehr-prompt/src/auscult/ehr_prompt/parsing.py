"""From a model's reply to a tagged result: what it says, or why it says nothing that can be used."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from auscult.core.errors import InputError
from auscult.ehr_prompt.tasks import FINAL, ReplyForm

Status = Literal[
    "ok", "repaired", "abstained", "refused", "malformed", "out_of_range", "wrong_length", "empty", "truncated",
    "transport_error", "too_long", "no_data",
]  # fmt: skip
"""``ok`` and ``repaired`` carry a value. ``too_long`` and ``no_data`` were never sent; ``transport_error`` was never
answered."""

USABLE = ("ok", "repaired")


class Parsed(NamedTuple):
    """A status, the numbers where there are any, the reply as it came, and the reason."""

    status: Status
    value: tuple[float, ...] | None
    raw: str
    reason: str = ""


_THINK = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_UNCLOSED_THINK = re.compile(r"<(think|thinking|reasoning)>", re.IGNORECASE)
_FENCE = re.compile(r"```[\w-]*\n?(.*?)```", re.DOTALL)
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_ONE = re.compile(rf"({_NUMBER})\s*(%|/\s*100)?")
_OPEN_NUMBER = re.compile(rf"(?<![\w.]){_NUMBER}\Z")
_MARKED = re.compile(rf"^[\s*_#>-]*{re.escape(FINAL.rstrip(':'))}[\s*_]*:[\s*_]*(.*)$", re.IGNORECASE | re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_ABSTAIN = re.compile(
    r"\bI (?:really )?(?:do not|don['’]t) know\b|\bI am not sure\b|\bunable to determine\b", re.IGNORECASE
)
_REFUSE = re.compile(
    r"\bI(?:['’]m| am) (?:sorry|not able|unable)\b|\bI (?:can(?:not|['’]t| not)|won['’]t|will not|must decline)\b"
    r"|\bas an AI\b|\b(?:not|n['’]t) (?:able to )?(?:provide|give|offer) (?:a )?(?:medical|clinical|diagnos)",
    re.IGNORECASE,
)


def parse_reply(
    text: str,
    *,
    numbers: int = 1,
    kind: Literal["probability", "days"] = "probability",
    finish_reason: str | None = None,
    refusal: str | None = None,
    decimal_comma: bool = False,
    clamp: bool = False,
) -> Parsed:
    """Read a reply.

    In this order: the last JSON object with ``answer``; the last line marked ``FINAL ANSWER:``; abstention and refusal
    (unless other sentences hold the expected numbers); else exactly the expected numbers and no other. Percentages and
    ``85/100`` become shares; a word is never taken for a number, and of several numbers without a mark none is
    guessed.

    Parameters
    ----------
    text
        The reply.
    numbers
        How many numbers it should hold.
    kind
        ``probability`` must lie in [0, 1], ``days`` must not be negative.
    finish_reason, refusal
        What the server said about it; a reply that ended by ``length`` without an answer, or right behind a digit of
        it, is ``truncated``.
    decimal_comma
        Read ``0,85`` as 0.85 (for one number).
    clamp
        Move numbers outside the range to its bound, with status ``repaired``.

    Raises
    ------
    InputError
        There is no such kind.

    Examples
    --------
    >>> parse_reply("0.85").value, parse_reply("85 %").status, parse_reply("I do not know.").status
    ((0.85,), 'repaired', 'abstained')
    """
    if kind not in ("probability", "days"):
        raise InputError(f"the kind of number is {kind!r}: use probability or days")
    if refusal:
        return Parsed("refused", None, text or refusal, "the server marked a refusal")
    body, repaired = _strip(text.replace("\u2212", "-"))
    cut = finish_reason == "length"
    if not body:
        if _UNCLOSED_THINK.search(text) or (cut and text.strip()):
            return Parsed("truncated", None, text, "it ends within its reasoning")
        return Parsed("truncated" if cut else "empty", None, text, "there is no text")
    answer = _from_json(body)
    if answer is not None:
        values, loose = answer
        said = " ".join(value for value in values if isinstance(value, str))
        if (values and set(map(type, values)) == {type(None)}) or _ABSTAIN.search(said):
            return Parsed("abstained", None, text, "the JSON answer is null, or says that it does not know")
        return _checked(values, numbers, kind, text, repaired or loose, clamp)
    marked = list(_MARKED.finditer(body))
    if not marked and "{" in body and '"' in body:
        return Parsed("truncated" if cut else "malformed", None, text, "the JSON is broken or has no answer")
    part = (marked[-1][1].strip().strip("*_`").strip() if marked else body).strip()
    if _ABSTAIN.search(part):
        return Parsed("abstained", None, text, "it says that it does not know")
    if cut and (not marked or marked[-1].end() == len(body)) and _OPEN_NUMBER.search(text):
        return Parsed("truncated", None, text, "it may have ended within its number")
    if _REFUSE.search(part):
        rest = " ".join(one for one in _SENTENCE_END.split(part) if not _REFUSE.search(one))
        found = _from_text(rest, numbers, kind, text, True, decimal_comma, clamp)
        return found if found.value else Parsed("refused", None, text, "it declines to answer")
    if cut and not marked and not re.fullmatch(rf"\[?\s*{_NUMBER}[\s,;\d.%\]]*", part):
        return Parsed("truncated", None, text, "it ended before the answer")
    return _from_text(part, numbers, kind, text, repaired, decimal_comma, clamp)


def read_probability(text: str, logprobs: Sequence[Mapping[str, float]], form: ReplyForm) -> Parsed:
    """Read a probability from the log-probabilities of the first word of a reply.

    ``yes_no``: that of Yes among Yes and No. ``digit``: the mean of the digits 0 to 9, by their probabilities, over 9.
    Tokens are compared without blanks and case. Own extensions; expected digits go back to Liu et al. 2023 (arXiv
    2303.16634).

    Parameters
    ----------
    text
        The reply.
    logprobs
        For each of its tokens, the alternatives with their log-probabilities.
    form
        ``yes_no`` or ``digit``.

    Examples
    --------
    >>> read_probability("No", [{"No": math.log(0.6), " yes": math.log(0.2)}], "yes_no").value
    (0.25,)
    """
    if _ABSTAIN.search(text):
        return Parsed("abstained", None, text, "it says that it does not know")
    if not logprobs:
        return Parsed("malformed", None, text, "the server gave no log-probabilities: ask for text instead")
    worth = {"yes": 1.0, "no": 0.0} if form == "yes_no" else {str(digit): digit / 9 for digit in range(10)}
    for place in logprobs:
        mass = dict.fromkeys(worth, 0.0)
        for token, value in place.items():
            word = token.strip().strip("\u2581\u0120\"'.*").lower()
            if word in mass:
                mass[word] += math.exp(value)
        whole = sum(mass.values())
        if whole > 0:
            share = sum(worth[word] * part for word, part in mass.items()) / whole
            return Parsed("ok", (min(max(share, 0.0), 1.0),), text)
        if any(value > math.log(0.5) and token.strip() for token, value in place.items()):
            break  # the first word is another one
    return Parsed("malformed", None, text, f"its first word is none of {', '.join(worth)}")


def _strip(text: str) -> tuple[str, bool]:
    """Return the text without reasoning blocks and fences, and whether a fence was there."""
    body = _THINK.sub("", text)
    # A closing tag alone: the opening one was part of the model's chat template.
    body = re.split(r"</(?:think|thinking|reasoning)>", body, flags=re.IGNORECASE)[-1]
    opened = _UNCLOSED_THINK.search(body)
    body = body[: opened.start()] if opened else body
    fences = _FENCE.findall(body)
    if len(fences) == 1 and not _FENCE.sub("", body).strip():
        return fences[0].strip(), True
    return (_FENCE.sub(lambda match: match[1], body)).strip(), bool(fences)


def _from_json(body: str) -> tuple[list[Any], bool] | None:
    """Return the answer of the last JSON object that has one, and whether text stood around it."""
    decoder, place, found = json.JSONDecoder(), body.find("{"), None
    while place >= 0:
        try:
            value, stop = decoder.raw_decode(body, place)
        except RecursionError:
            break
        except ValueError:
            stop = place + 1
        else:
            if isinstance(value, dict) and "answer" in value:
                loose = bool((body[:place] + body[stop:]).strip())
                found = (value["answer"] if isinstance(value["answer"], list) else [value["answer"]]), loose
        place = body.find("{", stop)
    return found


def _from_text(
    part: str, numbers: int, kind: str, raw: str, repaired: bool, decimal_comma: bool, clamp: bool
) -> Parsed:
    if decimal_comma and numbers == 1:
        part = re.sub(r"(?<=\d),(?=\d)", ".", part)
    if re.search(r"\b(?:nan|inf(?:inity)?)\b", part, re.IGNORECASE):
        return Parsed("malformed", None, raw, "it holds nan or inf")
    inner = part.rstrip(".").strip()
    bare = inner[1:-1] if inner[:1] == "[" and inner[-1:] == "]" else inner
    pieces = [piece.strip() for piece in re.split(r"[,;\n]+" if numbers > 1 else r"[,;]", bare) if piece.strip()]
    if pieces and all(_ONE.fullmatch(piece) for piece in pieces):
        return _checked(list(pieces), numbers, kind, raw, repaired, clamp)
    if numbers > 1:
        return Parsed("malformed", None, raw, "it is no list of numbers")
    found = list(re.finditer(rf"(?<![\w.]){_ONE.pattern}(?!\w|\.\d)", part))
    if len(found) != 1:
        return Parsed("malformed", None, raw, f"it holds {len(found)} numbers and no mark")
    return _checked([found[0][0]], 1, kind, raw, True, clamp)


def _checked(values: list[Any], numbers: int, kind: str, raw: str, repaired: bool, clamp: bool) -> Parsed:
    converted: list[float] = []
    for value in values:
        if isinstance(value, str):
            match = _ONE.fullmatch(value.strip())
            if match is None:
                return Parsed("malformed", None, raw, f"{value!r} is no number")
            if match[2] and kind == "days":
                return Parsed("malformed", None, raw, "days are given as a share")
            converted.append(float(match[1]) / (100 if match[2] else 1))
            repaired = repaired or bool(match[2])
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                converted.append(float(value))
            except OverflowError:
                converted.append(math.inf)
        else:
            return Parsed("malformed", None, raw, f"{value!r} is no number")
    if not all(math.isfinite(value) for value in converted):
        return Parsed("malformed", None, raw, "it holds nan or inf")
    if len(converted) != numbers:
        return Parsed("wrong_length", None, raw, f"{len(converted)} numbers instead of {numbers}")
    high = 1.0 if kind == "probability" else math.inf
    if any(not 0 <= value <= high for value in converted):
        if not clamp:
            return Parsed("out_of_range", None, raw, f"{converted} lies outside [0, {high:g}]")
        converted, repaired = [min(max(value, 0.0), high) for value in converted], True
    return Parsed("repaired" if repaired else "ok", tuple(converted), raw)
