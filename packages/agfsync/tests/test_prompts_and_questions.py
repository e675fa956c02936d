"""Stages 1 and 2: parsing, rejection, repetition, resume; and the defects of the released scripts."""

import json
from collections import Counter

import numpy as np
import pytest

from auscult.agfsync.config import DedupConfig, LLMConfig, PromptsConfig, QuestionsConfig
from auscult.agfsync.prompts import load_categories, make_prompts
from auscult.agfsync.questions import make_questions, split_questions
from auscult.agfsync.repetition import keep_by_embedding, keep_first, ngrams
from auscult.agfsync.replies import parse_json, read_prompts, read_questions
from auscult.core.errors import InputError
from auscult.core.runs import RunStore

ENDPOINT = LLMConfig(model="m", base_url="http://127.0.0.1:1/v1", attempts=3)


class Scripted:
    """A writer that answers from a function of key and attempt."""

    def __init__(self, reply):
        self.reply, self.asked = reply, []

    def write(self, chats, deliver):
        for key, _, _ in chats:
            self.asked.append(key)
            deliver(key, self.reply(key, self.asked.count(key)))


def good(key, attempt):
    return json.dumps({"descriptions": [f"a lamp of kind {key} number {i} on a table" for i in range(3)]})


@pytest.mark.parametrize(
    "text",
    ['{"descriptions": ["a", "b"]}', '```json\n{"descriptions": ["a", "b"]}\n```',
     'Sure: {"descriptions": ["a", "b",],}',
     '["a", "b"]', 'Here you are\n["a", "b"] - enjoy'],
)  # fmt: skip
def test_prompts_are_read_from_what_models_write(text):
    assert read_prompts(text, Counter()) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("I cannot do that.", "not JSON"), ('{"descriptions": ["a"', "not JSON"),
     ('{"prompts": ["a"]}', "no list of descriptions"),
     ('{"descriptions": "a"}', "no list of descriptions"), ('{"descriptions": [1]}', "not a text"),
     ('{"descriptions": ["  "]}', "empty"), (json.dumps(["x" * 2000]), "too long"),
     ("[" * 100_000, "not JSON"), ("", "not JSON")],
)  # fmt: skip
def test_what_is_no_prompt_is_counted(text, reason):
    rejected = Counter()
    assert read_prompts(text, rejected) == []
    assert rejected == {reason: 1}


def item(**changes):
    return {
        "question": "Is there a fox?",
        "answer": "Yes.",
        "element_type": "Animal",
        "element": "fox",
        "flag": 1,
    } | changes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"question": "There is a fox"}, "no question"), ({"question": None}, "no question"),
     ({"answer": "no"}, "answer is not yes"),
     ({"answer": None}, "answer is not yes"), ({"flag": 0}, "flagged by its writer"),
     ({"flag": "0"}, "flagged by its writer")],
)  # fmt: skip
def test_a_question_is_checked(changes, reason):
    rejected = Counter()
    assert read_questions(json.dumps([item(**changes), item()]), rejected) == [
        {"question": "Is there a fox?", "element_type": "animal", "element": "fox"}
    ]
    assert rejected == {reason: 1}


def test_unknown_types_are_other_and_odd_items_are_counted():
    rejected = Counter()
    found = read_questions(json.dumps({"questions": [item(element_type="mood"), "text", None]}), rejected)
    assert [one["element_type"] for one in found] == ["other"]
    assert rejected == {"not an item": 2}
    with pytest.raises(ValueError, match="JSON"):
        parse_json("nothing")


def test_prompts_of_a_writer_are_checked_kept_and_not_asked_again(tmp_path):
    config = PromptsConfig(
        backend="endpoint", llm=ENDPOINT, per_request=3, requests=2, dedup=DedupConfig(method="exact")
    )
    first = load_categories()[0].key
    writer = Scripted(lambda key, n: {1: "no", 2: None}.get(n, good(key, n)) if key == f"{first}/0" else good(key, n))
    with RunStore.open(tmp_path, config={}) as store:
        rows, report = make_prompts(config, seed=0, store=store, writer=writer)
        assert writer.asked.count(f"{first}/0") == 3
        assert report.rejected == {"not JSON": 1, "no reply": 1}
        assert len(rows) == 12 * 2 * 3
        assert report.rows[0] == {"category": first, "parsed": 6, "unique": 6, "mean_words": 10}
        silent = Scripted(lambda key, n: pytest.fail(f"asked {key} again"))
        again, _ = make_prompts(config, seed=0, store=store, writer=silent)
    assert again == rows
    assert len({row["id"] for row in rows}) == len(rows)
    assert rows[0]["source"] == {"backend": "endpoint", "model": "m", "seed": 0, "round": 0}


def test_a_request_that_is_refused_for_ever_is_given_up(tmp_path):
    config = QuestionsConfig(backend="endpoint", llm=ENDPOINT, min_questions=1)
    prompts = [{"id": str(i), "prompt": f"prompt {i}", "category": "c"} for i in range(3)]
    reply = json.dumps([item()])
    writer = Scripted(lambda key, n: None if key == "1/0" else reply)
    with RunStore.open(tmp_path, config={}) as store:
        rows, rejected = make_questions(prompts, config, store=store, writer=writer)
    assert [row["id"] for row in rows] == ["0", "2"]  # ids are never counted anew
    assert writer.asked.count("1/0") == 3
    assert rejected == {"no reply": 3, "given up": 1, "prompts with too few questions": 1}


def test_questions_of_several_replies_are_put_together_without_repetitions(tmp_path):
    config = QuestionsConfig(backend="endpoint", llm=ENDPOINT, samples=2, min_questions=2, max_questions=2)
    replies = {
        "0/0": [item(), item(question="Is the fox red?")],
        "0/1": [item(question="is there a  FOX?"), item(question="Is it snowing?")],
    }
    writer = Scripted(lambda key, n: json.dumps(replies[key]))
    with RunStore.open(tmp_path, config={}) as store:
        (row,), rejected = make_questions(
            [{"id": "0", "prompt": "p", "category": ""}], config, store=store, writer=writer
        )
    assert [one["question"] for one in row["questions"]] == ["Is there a fox?", "Is the fox red?"]
    assert [one["qid"] for one in row["questions"]] == [0, 1]
    assert row["stats"] == {"raw": 4, "kept": 2}
    assert rejected["repeated"] == 1


def test_no_prompt_with_enough_questions_is_an_error(tmp_path):
    with RunStore.open(tmp_path, config={}) as store, pytest.raises(InputError, match="min_questions"):
        make_questions(
            [{"id": "0", "prompt": "a fox", "category": ""}], QuestionsConfig(backend="template"), store=store
        )
    with RunStore.open(tmp_path, config={}) as store, pytest.raises(InputError, match="no prompt"):
        make_questions([], QuestionsConfig(backend="template"), store=store)


def test_templates_are_the_same_for_a_seed_and_make_questions(tmp_path):
    config = PromptsConfig(backend="template", per_request=3)
    with RunStore.open(tmp_path, config={}) as store:
        rows, _ = make_prompts(config, seed=0, store=store)
        assert rows == make_prompts(config, seed=0, store=store)[0]
        assert rows != make_prompts(config, seed=1, store=store)[0]
        asked, _ = make_questions(rows, QuestionsConfig(backend="template", min_questions=3), store=store)
    assert {row["category"] for row in rows} == {category.key for category in load_categories()}
    assert len(asked) > 20
    assert all(one["answer"] == "yes" and one["question"].endswith("?") for row in asked for one in row["questions"])
    assert [one["element"] for one in split_questions("Two owls in a tree, at night")] == ["two owls", "tree", "night"]


@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_your_own_file_is_read(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    lines = ["a fox", " A  FOX ", "two owls"]
    if suffix == ".jsonl":
        lines = [json.dumps({"prompt": line, "category": "animals"}) for line in lines]
    path.write_text("\n".join(lines) + "\n\n", "utf-8")
    with RunStore.open(tmp_path / "run", config={}) as store:
        rows, _ = make_prompts(PromptsConfig(backend="file", path=str(path)), seed=0, store=store)
    assert [row["prompt"] for row in rows] == ["a fox", "two owls"]


def test_repetitions_are_sought_within_a_category_alone(tmp_path):
    lines = [json.dumps({"prompt": "a fox", "category": category}) for category in ("animals", "toys", "animals")]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines), "utf-8")
    with RunStore.open(tmp_path / "run", config={}) as store:
        rows, _ = make_prompts(PromptsConfig(backend="file", path=str(tmp_path / "mine.jsonl")), seed=0, store=store)
    assert [row["category"] for row in rows] == ["animals", "toys"]
    assert rows[0]["id"] != rows[1]["id"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("e.txt", "", "no prompt"), ("b.jsonl", "{", "line 1"), ("f.jsonl", '\n\n{"prompt": ""}', "line 3"),
     ("g.jsonl", '{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "two owls"}', "two prompts have the id 'a'"),
     ("h.jsonl", '{"id": "a/b", "prompt": "x"}', "'a/b'"), ("c.jsonl", '{"text": "x"}', "line 1"),
     ("d.txt", None, "cannot be read")],
)  # fmt: skip
def test_a_file_without_prompts_is_refused(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_text(content, "utf-8")
    with RunStore.open(tmp_path / "run", config={}) as store, pytest.raises(InputError, match=words):
        make_prompts(PromptsConfig(backend="file", path=str(tmp_path / name)), seed=0, store=store)


def test_your_own_ids_are_kept(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": 7, "prompt": "a red\u2028fox"}\n\n{"prompt": "two owls"}', "utf-8-sig")
    with RunStore.open(tmp_path / "run", config={}) as store:
        rows, _ = make_prompts(PromptsConfig(backend="file", path=str(path)), seed=0, store=store)
    assert (rows[0]["id"], rows[0]["prompt"], len(rows[1]["id"])) == ("7", "a red fox", 16)


@pytest.mark.parametrize(
    ("text", "words"),
    [("- {key: a/b, theme: t, examples: [a, b]}", "'a/b'"), ("- {key: a, theme: t, examples: [a]}", "1 examples"),
     ("- {key: a, theme: t, examples: ['', b]}", "none empty"), ("- {key: [", "no YAML"), (b"\xe9", "UTF-8")],
)  # fmt: skip
def test_categories_that_cannot_be_used_are_refused(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=words):
        load_categories(str(path))


def test_categories_of_your_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("- {key: k, theme: t, examples: [a b, c d]}\n", "utf-8")
    assert load_categories(str(path))[0].examples == ["a b", "c d"]
    assert len(load_categories()) == 12
    assert all(len(category.examples) == 5 for category in load_categories())
    path.write_text("- {key: k, theme: t, exampels: []}\n", "utf-8")
    with pytest.raises(InputError, match="did you mean 'examples'"):
        load_categories(str(path))
    path.write_text(2 * "- {key: k, theme: t, examples: [a, b]}\n", "utf-8")
    with pytest.raises(InputError, match="twice"):
        load_categories(str(path))


@pytest.mark.parametrize("block", [1, 3, 100])
def test_blocks_drop_what_a_greedy_loop_drops(block):
    random = np.random.default_rng(0)
    rows = random.normal(size=(40, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    kept = []
    for i in range(len(rows)):
        if all(rows[i] @ rows[j] < 0.6 for j in kept):
            kept.append(i)
    assert keep_by_embedding(rows, 0.6, block) == kept
    assert 5 < len(kept) < 40


def test_ngrams_drop_what_a_greedy_loop_drops():
    texts = ["a red fox on a log", "a red fox on the log", "two owls", "a red fox on a log!", "Two  owls", "three owls"]
    kept = []
    for i, text in enumerate(texts):
        own = ngrams(text)
        if all(len(own & ngrams(texts[j])) / len(own | ngrams(texts[j])) < 0.7 for j in kept):
            kept.append(i)
    assert keep_first(texts, DedupConfig(threshold=0.7)) == kept
    assert keep_first(texts, DedupConfig(method="exact")) == [0, 1, 2, 3, 5]
    with pytest.raises(InputError, match="encoder"):
        keep_first(texts, DedupConfig(method="embedding"))


def test_a_sentence_encoder_of_transformers_serves(tmp_path):
    import torch
    from transformers import BertConfig, BertModel

    from auscult.agfsync.repetition import load_encoder
    from auscult.agfsync.shapes.models import make_tokenizer

    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            initializer_range=1.0,
        )
    ).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    embed = load_encoder(str(tmp_path))
    found = embed(["a red circle", "two blue squares", "a red circle"])
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert keep_first(
        ["a red circle", "two blue squares"], DedupConfig(method="embedding", threshold=0.999999), embed
    ) == [0, 1]
    with pytest.raises(InputError, match="nowhere"):
        load_encoder(str(tmp_path / "nowhere"))
