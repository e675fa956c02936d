"""Properties 8 and 9: ids in the prompt are those of its text, and nothing forbidden comes in."""

import pytest
import torch

from auscult.core.errors import InputError
from auscult.o2m_attack import Templates
from auscult.o2m_attack.conditions import make_request
from auscult.o2m_attack.targets.prompts import Prompts
from auscult.o2m_attack.targets.tiny import tiny_tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{% for part in m['content'] %}"
    "{{ part['text'] | trim }}{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEXT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def tokenizer(llava):
    return llava.tokenizer


@pytest.fixture
def request_(record):
    return make_request(record, "2m")


@pytest.mark.parametrize("template", [None, TEMPLATE, TEXT_TEMPLATE])
def test_segments_are_the_ids_of_the_rendered_prompt(tokenizer, request_, template):
    prompts = Prompts(tokenizer, "<image>", chat_template=template)
    suffix = prompts.neutral_suffix(request_, 6)
    segments, ids = prompts.segments(request_, suffix)
    text = prompts.render(request_.question, suffix)
    joined = [*segments.before, prompts.image_token_id, *segments.between, *ids, *segments.after]
    assert list(prompts.encode(text)["input_ids"]) == joined
    assert len(ids) == 6
    assert joined.count(tokenizer.bos_token_id) == 1
    assert text.index(request_.question) < text.index("<image>") < text.index(suffix)


@pytest.mark.parametrize("template", [None, TEMPLATE, TEXT_TEMPLATE])
def test_the_target_is_what_the_assistant_would_go_on_with(tokenizer, request_, template):
    prompts = Prompts(tokenizer, "<image>", chat_template=template)
    segments, _ = prompts.segments(request_, " ! !")
    said = tokenizer.decode(segments.target)
    assert said.strip() == request_.target
    assert said.startswith(" ") == (template != TEMPLATE)


def test_survivors_are_exactly_those_that_read_the_same(tokenizer, request_):
    prompts = Prompts(tokenizer, "<image>")
    segments, _ = prompts.segments(request_, prompts.neutral_suffix(request_, 5))
    allowed = (~prompts.forbidden()).nonzero().flatten()
    draws = torch.randint(len(allowed), (200, 5), generator=torch.Generator().manual_seed(0))
    candidates = allowed[draws].tolist()
    kept = prompts.survives(segments, candidates)
    assert 0 < sum(kept) < 200
    for ids, survives in zip(candidates, kept, strict=True):
        text = prompts.suffix_text(segments, ids)
        encoded = list(prompts.encode(prompts.render(request_.question, text))["input_ids"])
        front = [*segments.before, prompts.image_token_id, *segments.between]
        same = encoded == [*front, *ids, *segments.after]
        assert survives == (same and text == text.rstrip())


def test_no_id_is_allowed_that_is_special_or_unprintable(tokenizer):
    prompts = Prompts(tokenizer, "<image>")
    forbidden = prompts.forbidden()
    assert forbidden[tokenizer.all_special_ids].all()
    assert forbidden[prompts.image_token_id]
    for one in (~forbidden).nonzero().flatten().tolist():
        text = tokenizer.decode([one])
        assert text
        assert text.isascii()
        assert text.isprintable()
    assert prompts.forbidden(allow_non_ascii=True).sum() <= forbidden.sum()


def test_a_suffix_that_is_merged_away_is_refused(tokenizer, request_):
    prompts = Prompts(tokenizer, "<image>", chat="USER: {turn}en ASSISTANT:")
    with pytest.raises(InputError, match="merges the suffix 'k'"):
        prompts.segments(request_, "k")
    prompts = Prompts(tokenizer, "<image>", chat_template=TEMPLATE)
    with pytest.raises(InputError, match="merges the suffix"):
        prompts.segments(request_, "! ")


def test_no_neutral_suffix_at_all():
    class Merging(Prompts):
        def survives(self, segments, candidates):
            return [False] * len(candidates)

    from auscult.o2m_attack.conditions import Request

    prompts = Merging(tiny_tokenizer(["a b"], 300), "<image>")
    with pytest.raises(InputError, match="every plain suffix of 4 tokens"):
        prompts.neutral_suffix(Request("What is it?", "Sure"), 4)
    assert prompts.neutral_suffix(Request("What is it?", "Sure"), 0) == ""


def test_what_cannot_be_a_prompt_is_refused(tokenizer, request_, record):
    with pytest.raises(InputError, match="'<picture>' as"):
        Prompts(tokenizer, "<picture>")
    with pytest.raises(InputError, match=r"needs \{turn\} once"):
        Prompts(tokenizer, "<image>", chat="USER: ASSISTANT:")
    with pytest.raises(InputError, match="no fast tokenizer"):
        Prompts(object(), "<image>")
    with pytest.raises(InputError, match="chat template cannot be used"):
        Prompts(tokenizer, "<image>", chat_template="{{ messages[0]['role'] }}").segments(request_, "")
    with pytest.raises(InputError, match="2 times"):
        Prompts(tokenizer, "<image>").segments(type(request_)("What is in <image>?", "Sure"), "")


def test_the_order_of_a_turn_is_kept(tokenizer, request_):
    templates = Templates(turn="{question} <<{image}>> {suffix}")
    text = Prompts(tokenizer, "<image>", templates=templates).render("Which?", "go")
    assert text == "USER: Which? <<<image>>> go ASSISTANT:"
    with pytest.raises(InputError, match="each once and in this order"):
        Templates(turn="{image}{question}{suffix}")


def test_a_chat_may_hold_braces(tokenizer):
    prompts = Prompts(tokenizer, "<image>", chat="{SYS} {turn} } {")
    assert prompts.render("Which?", " !") == "{SYS} Which?\n<image>\n ! } {"
