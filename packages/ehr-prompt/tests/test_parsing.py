import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import InputError
from auscult.ehr_prompt.parsing import parse_reply

P = [
    ("0.85", "ok", 0.85),
    ("0", "ok", 0.0),
    ("1", "ok", 1.0),
    ("1.0", "ok", 1.0),
    (".5", "ok", 0.5),
    ("0.", "ok", 0.0),
    (" 0.25\n", "ok", 0.25),
    ("0.25.", "ok", 0.25),
    ("+0.25", "ok", 0.25),
    ("1e-3", "ok", 0.001),
    ("[0.4]", "ok", 0.4),
    ("85%", "repaired", 0.85),
    ("85 %", "repaired", 0.85),
    ("85/100", "repaired", 0.85),
    ("100 %", "repaired", 1.0),
    ("0.5%", "repaired", 0.005),
    ("The probability is 0.3.", "repaired", 0.3),
    ("Probability: 0.72", "repaired", 0.72),
    ("**0.72**", "repaired", 0.72),
    ("about 30 % I would say", "repaired", 0.3),
    ("RESPONSE: 0.1", "repaired", 0.1),
    ("```\n0.6\n```", "repaired", 0.6),
    ('```json\n{"answer": 0.6}\n```', "repaired", 0.6),
    ('{"answer": 0.6}', "ok", 0.6),
    ('{"reasoning": "LDH 900, age 80", "answer": 0.9}', "ok", 0.9),
    ('{"answer": "0.6"}', "ok", 0.6),
    ('{"answer": "60%"}', "repaired", 0.6),
    ('Here it is: {"answer": 0.6}', "repaired", 0.6),
    ('{"answer": 0.2} no, {"answer": 0.7}', "repaired", 0.7),
    ('{"answer": null}', "abstained", None),
    ('{"answer": true}', "malformed", None),
    ('{"answer": NaN}', "malformed", None),
    ('{"answer": 1.4}', "out_of_range", None),
    ('{"answer": [0.1, 0.2]}', "wrong_length", None),
    ('{"probability": 0.4}', "malformed", None),
    ('{"answer": 1' + "0" * 400 + "}", "malformed", None),
    ('{"a":' * 5000, "malformed", None),
    ('{"a":' * 5000 + "1" + "}" * 5000, "malformed", None),
    ('{"answer": "I do not know"}', "abstained", None),
    ('The pair {LDH, "urea"} is high.\nFINAL ANSWER: 0.9', "ok", 0.9),
    ('The pair {LDH, "urea"} is high.\nFINAL ANSWER: I do not know', "abstained", None),
    ('{"reasoning": "FINAL', "malformed", None),
    ('{"answer": 0.', "malformed", None),
    ('{"reasoning": "the LDH', "malformed", None),
    ("<think>LDH is 900, so 0.9? or 0.8</think>0.85", "ok", 0.85),
    ("<think>maybe 0.3</think>\n\nThe answer is 0.85", "repaired", 0.85),
    ("LDH 900 at 5 visits</think>0.85", "ok", 0.85),
    ("<think>and then 0.3", "truncated", None),
    ("LDH is 900.\nAge 80.\nFINAL ANSWER: 0.9", "ok", 0.9),
    ("**Final answer:** 0.9", "ok", 0.9),
    ("FINAL ANSWER: 0.2\nWait.\nFINAL ANSWER: 0.4", "ok", 0.4),
    ("I first thought I do not know.\nFINAL ANSWER: 0.4", "ok", 0.4),
    ("FINAL ANSWER: I do not know", "abstained", None),
    ("FINAL ANSWER: about 40 %", "repaired", 0.4),
    ("I do not know", "abstained", None),
    ("I do not know.", "abstained", None),
    ("i don't know", "abstained", None),
    ("I don’t know", "abstained", None),
    ("I'm sorry, but I cannot assist with that.", "refused", None),
    ("I can't provide medical advice.", "refused", None),
    ("As an AI, I have no clinical training.", "refused", None),
    ("I must decline.", "refused", None),
    ("I cannot exclude death. My estimate is 0.3", "repaired", 0.3),
    ("I cannot predict this with 100 % certainty.", "refused", None),
    ("I am unable to give a prognosis.", "refused", None),
    ("", "empty", None),
    ("  \n", "empty", None),
    ("high", "malformed", None),
    ("eighty percent", "malformed", None),
    ("between 0.2 and 0.4", "malformed", None),
    ("0.2-0.4", "malformed", None),
    ("0.2, 0.4", "wrong_length", None),
    ("nan", "malformed", None),
    ("inf", "malformed", None),
    ("1.7", "out_of_range", None),
    ("-0.2", "out_of_range", None),
    ("\u22120.2", "out_of_range", None),
    ("85", "out_of_range", None),
    ("170 %", "out_of_range", None),
    ("0,85", "wrong_length", None),
    ("1.2.3", "malformed", None),
]


@pytest.mark.parametrize(("text", "status", "value"), P)
def test_replies_with_one_probability(text, status, value):
    parsed = parse_reply(text)
    assert (parsed.status, parsed.value) == (status, None if value is None else (pytest.approx(value),))
    assert parsed.raw == text
    assert bool(parsed.reason) is (value is None)


@pytest.mark.parametrize(
    ("text", "status", "value"),
    [
        ("9, 8, 5", "ok", (9, 8, 5)),
        ("[9, 8, 5]", "ok", (9, 8, 5)),
        ("9\n8\n5", "ok", (9, 8, 5)),
        ("0, 0, 0", "ok", (0, 0, 0)),
        ('{"answer": [9, 8.5, 5]}', "ok", (9, 8.5, 5)),
        ("FINAL ANSWER: 9, 8, 5", "ok", (9, 8, 5)),
        ("9, 8", "wrong_length", None),
        ("9, 8, 5, 1", "wrong_length", None),
        ("9", "wrong_length", None),
        ("9, -8, 5", "out_of_range", None),
        ("9, eight, 5", "malformed", None),
        ("9 %, 8, 5", "malformed", None),
        ("day 1: 9, day 2: 8", "malformed", None),
    ],
)
def test_replies_with_days(text, status, value):
    parsed = parse_reply(text, numbers=3, kind="days")
    assert (parsed.status, parsed.value) == (status, value)


def test_options():
    assert parse_reply("0,85", decimal_comma=True).value == (0.85,)
    clamped = parse_reply("1.7", clamp=True)
    assert (clamped.status, clamped.value) == ("repaired", (1.0,))
    assert parse_reply("", refusal="no").status == "refused"
    assert parse_reply("The LDH of", finish_reason="length").status == "truncated"
    with pytest.raises(InputError, match="'probs'"):
        parse_reply("2", kind="probs")
    assert parse_reply('{"reasoning": "so', finish_reason="length").status == "truncated"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", None),
        ("0.", None),
        ("0.5", None),
        ("FINAL ANSWER: 0.", None),
        ("I cannot exclude death. My estimate is 0.", None),
        ("[0.5", None),
        ("0.25.", 0.25),
        ("0.5\n", 0.5),
        ("85%", 0.85),
        ("[0.5]", 0.5),
        ("FINAL ANSWER: 0.5\nAs the LDH of 9", 0.5),
        ('{"answer": 0.5} with 3', 0.5),
    ],
)
def test_a_reply_cut_off_behind_a_digit_may_have_lost_others(text, value):
    """0 may have been to become 0.9, 0.5 to become 0.57 or 0.5 %: only what stands behind a number ends it."""
    parsed = parse_reply(text, finish_reason="length")
    assert (parsed.status == "truncated") is (value is None)
    assert parsed.value == (None if value is None else (value,))
    assert parse_reply("9, 8", numbers=2, kind="days", finish_reason="length").status == "truncated"


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(1, 3), st.sampled_from(["probability", "days"]))
def test_no_text_crashes_and_every_value_is_in_range(text, numbers, kind):
    parsed = parse_reply(text, numbers=numbers, kind=kind)
    assert (parsed.value is not None) is (parsed.status in ("ok", "repaired"))
    if parsed.value is not None:
        assert len(parsed.value) == numbers
        assert all(0 <= value <= (1 if kind == "probability" else float("inf")) for value in parsed.value)
