"""A model on this machine: a tiny one, made on the spot in the format of real ones."""

import math

import pytest

from auscult.core.endpoint import ChatRequest
from auscult.core.errors import InputError
from auscult.ehr_prompt import PromptConfig, RunConfig, prepare, run, score
from auscult.ehr_prompt.backends import Item
from auscult.ehr_prompt.backends.local import LocalBackend
from auscult.ehr_prompt.planning import load_context, load_tokenizer, plan_questions

pytestmark = pytest.mark.torch

TEXTS = ["LDH 300", "LDH 900 and albumin 24, over many days", "x", "K 3.1, K 4.0", "Urea 7"]


def answers(backend, **options):
    items = [
        Item(str(i), ChatRequest(messages=[{"role": "user", "content": text}], max_tokens=12, seed=i, **options), None)
        for i, text in enumerate(TEXTS)
    ]
    found = {}
    backend.answer(iter(items), found.update)
    return [found[str(i)] for i in range(len(TEXTS))]


def test_an_answer_does_not_depend_on_its_batch(tiny_model):
    alone = answers(LocalBackend(str(tiny_model), device="cpu", batch_size=1))
    together = answers(LocalBackend(str(tiny_model), device="cpu", batch_size=4))
    assert alone == together
    assert all(reply.completion_tokens <= 12 for reply in alone)
    assert {reply.finish_reason for reply in alone} <= {"stop", "length"}
    assert len({reply.text for reply in alone}) > 1


def test_draws_follow_their_seed(tiny_model):
    one, other = (
        answers(LocalBackend(str(tiny_model), device="cpu", batch_size=size), temperature=1.0) for size in (1, 4)
    )
    assert one == other
    assert one != answers(LocalBackend(str(tiny_model), device="cpu"))


def test_log_probabilities_are_those_of_a_forward_pass(tiny_model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model), AutoModelForCausalLM.from_pretrained(tiny_model)
    replies = answers(LocalBackend(str(tiny_model), device="cpu", batch_size=3), top_logprobs=5)
    for text, reply in zip(TEXTS, replies, strict=True):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        assert reply.prompt_tokens == ids.shape[1]
        with torch.no_grad():
            expected = model(ids).logits[0, -1].float().log_softmax(-1)
        for token, value in reply.logprobs[0].items():
            places = [i for i in range(len(expected)) if tokenizer.decode([i]) == token]
            assert any(math.isclose(float(expected[i]), value, abs_tol=1e-3) for i in places) or len(places) > 1


@pytest.mark.parametrize("reply", ["text", "yes_no"])
def test_a_run_with_a_local_model_is_stored_and_scored(tiny_model, few, tmp_path, tjh, reply):
    config = RunConfig(
        backend="local", model=str(tiny_model), max_tokens=8, **few, prompt=PromptConfig(window="first", reply=reply)
    )
    first = run(config, tmp_path, prepared=prepare(config, tjh))
    again = run(config, tmp_path, prepared=prepare(config, tjh))
    assert (first.stored, again.stored, again.reused) == (6, 0, 6)
    result = score(tmp_path, n_boot=10)
    assert result["n"] == 6
    assert result["tokens"]["prompt"] > 6 * 50
    assert sum(result["status"].values()) == 6


def test_tokens_are_counted_by_the_model_s_own_tokenizer(tiny_model, few, tjh):
    local = RunConfig(backend="local", model=str(tiny_model), **few, prompt=PromptConfig(window="first"))
    named = RunConfig(
        backend="openai", model="m", base_url="http://x/v1", tokenizer=str(tiny_model), **few,
        prompt=PromptConfig(window="first"),
    )  # fmt: skip
    count = load_tokenizer(local)
    prepared = prepare(local, tjh)
    for config in (local, named):
        plan = plan_questions(config, prepared)
        [case] = prepared.renderer.cases([plan["row"][0]])
        prompt = prepared.renderer.prompt(case)
        assert load_context(local) == 4096
        assert plan["tokens"][0] == len(count(prompt.system)) + len(count(prompt.user)) + 16


def test_what_cannot_be_loaded_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be loaded"):
        answers(LocalBackend(str(tmp_path), device="cpu"))
    with pytest.raises(InputError, match="batch_size"):
        LocalBackend("x", batch_size=0)
    with pytest.raises(InputError, match="cuda"):
        LocalBackend("x", device="cuda:7")
    with pytest.raises(InputError, match="tokenizer"):
        load_tokenizer(RunConfig(backend="openai", model="m", base_url="http://x/v1", tokenizer=str(tmp_path)))
