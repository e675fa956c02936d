"""Judges that are models: BLIP-2 and a chat model of random weights, and a scripted server."""

import contextlib
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from auscult.agfsync.config import ScoreConfig
from auscult.agfsync.scoring.judges import make_judge, yes_probability
from auscult.agfsync.scoring.model_judge import BLIP2_PROMPT, Blip2Judge, ChatJudge
from auscult.agfsync.testing import save_tiny_blip2, save_tiny_chat_model
from auscult.core.errors import InputError

QUESTIONS = [["Is there a red circle?", "Is it red?", "Is there a cat?"], ["Is there a dog?"], []]


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(3)]


@pytest.fixture(scope="module")
def blip2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blip2")
    save_tiny_blip2(folder)
    return str(folder)


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    save_tiny_chat_model(folder)
    return str(folder)


def config(kind, model, **options):
    return ScoreConfig(vqa=kind, vqa_model=model, device="cpu", **options)


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_blip2_looks_at_each_picture_once_and_answers_as_one_by_one(blip2, images, mode):
    judge = Blip2Judge(config("blip2", blip2, vqa_mode=mode, batch_size=2))
    found = judge.ask(images, QUESTIONS)
    assert judge.vision_passes == 2  # the third picture has no question
    assert [len(verdict.answers) for verdict in found] == [3, 1, 0]
    alone = [
        Blip2Judge(config("blip2", blip2, vqa_mode=mode)).ask([image], [asked])[0]
        for image, asked in zip(images[:2], QUESTIONS[:2], strict=True)
    ]
    for one, other in zip(found, alone, strict=False):
        assert one.yes == pytest.approx(other.yes, abs=1e-4)
    if mode == "soft":
        assert all(0 < value < 1 for verdict in found for value in verdict.yes)


def test_blip2_s_chances_are_those_of_a_plain_call(blip2, images):
    judge = Blip2Judge(config("blip2", blip2, vqa_mode="soft"))
    inputs = judge._processor(
        images=images[0], text=[BLIP2_PROMPT.format(question=QUESTIONS[0][0])], return_tensors="pt"
    )
    with torch.inference_mode():
        out = judge._model.generate(
            **inputs, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    tokenizer = judge._processor.tokenizer
    logits = out.logits[0][0, [tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no")]]
    expected = logits.softmax(0)[0].item()
    assert judge.ask(images[:1], [QUESTIONS[0][:1]])[0].yes[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_a_chat_model_answers_alike_in_any_batch(chat, images, mode):
    one = ChatJudge(config("transformers", chat, vqa_mode=mode, batch_size=1)).ask(images, QUESTIONS)
    many = ChatJudge(config("transformers", chat, vqa_mode=mode, batch_size=4)).ask(images, QUESTIONS)
    for a, b in zip(one, many, strict=True):
        assert a.yes == pytest.approx(b.yes, abs=1e-3)
        assert len(a.answers) == len(a.yes)


def test_a_judge_that_is_not_there_is_named(tmp_path):
    for kind in ("blip2", "transformers"):
        with pytest.raises(InputError, match="nowhere"):
            make_judge(config(kind, str(tmp_path / "nowhere")))


def test_the_chance_of_yes_is_a_softmax_over_yes_and_no():
    logits = torch.tensor([[1.0, 2.0, 0.0, 5.0]])
    both = math.exp(1) + math.exp(2)
    assert yes_probability(logits, [0, 1], [2]) == pytest.approx([both / (both + 1)])
    with pytest.raises(InputError, match="hard"):
        yes_probability(logits, [], [2])


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_local_model_writes_the_same_for_the_same_request(tmp_path, temperature):
    from auscult.agfsync.config import LLMConfig
    from auscult.agfsync.testing import save_tiny_writer
    from auscult.agfsync.writers import make_writer

    save_tiny_writer(tmp_path)
    found = []
    chats = [("one", "a red", "fox"), ("two", "a", "red fox")]
    for order in (chats, chats[::-1]):
        writer = make_writer("local", LLMConfig(model=str(tmp_path), max_tokens=6, temperature=temperature))
        replies = {}
        writer.write(order, replies.__setitem__)
        found.append(replies)
    assert found[0] == found[1]
    assert all(isinstance(reply, str) for reply in found[0].values())
    # Asked again, since the reply could not be used, it says something else, if it can.
    writer.write(chats, replies.__setitem__)
    assert (replies == found[0]) is (temperature == 0)
    make_writer("local", LLMConfig(model=str(tmp_path), max_tokens=6, temperature=temperature), 1).write(
        chats, replies.__setitem__
    )
    assert (replies == found[0]) is (temperature == 0)
    with pytest.raises(InputError, match="nowhere"):
        make_writer("local", LLMConfig(model=str(tmp_path / "nowhere")))
    for backend in ("local", "endpoint"):
        with pytest.raises(InputError, match=r"llm\.model"):
            make_writer(backend, LLMConfig())


@pytest.mark.serve
@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_a_server_answers_and_what_it_refuses_is_no_answer(images, mode):
    from auscult.core.testing.server import Completion, Fail, ScriptedServer

    def behave(body, number):
        text = body["messages"][0]["content"][1]["text"]
        if "cat" in text:
            return Fail(400)
        word = "Yes." if "red" in text else "no"
        return Completion(word, logprobs=[{"Yes": math.log(0.6), "no": math.log(0.2), "maybe": math.log(0.1)}])

    with ScriptedServer(behave) as server:
        judge = make_judge(config("endpoint", "m", vqa_base_url=server.base_url, vqa_mode=mode))
        found = judge.ask(images, QUESTIONS)
        assert server.bodies[0]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    with ScriptedServer(lambda body, number: "yes") as server:
        judge = make_judge(config("endpoint", "m", vqa_base_url=server.base_url, vqa_mode=mode))
        with contextlib.nullcontext() if mode == "hard" else pytest.raises(InputError, match="no log-probabilities"):
            judge.ask(images, QUESTIONS)
    assert found[0].answers == ["yes", "yes", "failed"]
    assert found[0].yes == pytest.approx([0.75, 0.75, math.nan] if mode == "soft" else [1, 1, math.nan], nan_ok=True)
    assert math.isnan(found[0].score)
    assert found[1].answers == ["no"]


@pytest.mark.serve
def test_a_pairwise_judge_sees_both_orders(tmp_path):
    from auscult.agfsync.images import write_image
    from auscult.agfsync.jobs import judge_evaluated
    from auscult.agfsync.pairwise import judge_pairs
    from auscult.core.runs import RunStore
    from auscult.core.testing import assert_one_sentence, run_command
    from auscult.core.testing.server import ScriptedServer

    folder = tmp_path / "evaluate"
    for name, value in (("base", 10), ("tuned", 200)):
        with RunStore.open(folder / name, config={}) as store:
            for id in ("better", "biased", "silent"):
                write_image(np.full((4, 4, 3), value, np.uint8), folder / name / f"{id}.png")
                store.put(id, {"id": id, "k": 0, "prompt": id, "path": f"{id}.png"})
    (folder / "stage.json").write_text("{}", "utf-8")
    import base64

    tuned = base64.b64encode((folder / "tuned" / "better.png").read_bytes()).decode()

    def behave(body, number):
        first, _, text = body["messages"][0]["content"]
        if "biased" in text["text"]:
            return "The first."
        if "silent" in text["text"]:
            return "Neither of them."
        return "First" if tuned in first["image_url"]["url"] else "Second"

    with ScriptedServer(behave) as server:
        command = ["agfsync", "judge", "--out", tmp_path, "--model", "m", "--base-url", server.base_url]
        found = json.loads(run_command(*command, "--json").stdout)
        assert (found["wins"], found["ties"], found["losses"], found["unanswered"]) == (1, 2, 0, 0)
        assert found["rate"]["value"] == pytest.approx(2 / 3)
        assert len(server.bodies) == 6
        assert judge_evaluated(tmp_path, server.base_url, "m", "prompt_following") == found
        assert len(server.bodies) == 6
        assert_one_sentence(run_command(*command, "--question", "taste"), "taste")
        assert len(list(folder.glob("judge-*"))) == 1
    with RunStore.open(tmp_path / "other", config={}) as store, pytest.raises(InputError, match="taste"):
        judge_pairs(None, [], [], tmp_path, store=store, question="taste")


@pytest.mark.serve
def test_a_server_writes_prompts(tmp_path):
    from auscult.agfsync.config import LLMConfig, PromptsConfig
    from auscult.agfsync.prompts import make_prompts
    from auscult.core.runs import RunStore
    from auscult.core.testing.server import ScriptedServer

    (tmp_path / "one.yaml").write_text("- {key: k, theme: lamps, examples: [a, b]}\n", "utf-8")
    with ScriptedServer(lambda body, number: '{"descriptions": ["a green lamp", "two tall lamps"]}') as server:
        config = PromptsConfig(
            backend="endpoint",
            categories=str(tmp_path / "one.yaml"),
            llm=LLMConfig(model="m", base_url=server.base_url),
        )
        with RunStore.open(tmp_path / "run", config={}) as store:
            rows, _ = make_prompts(config, seed=0, store=store)
        assert "lamps" in server.bodies[0]["messages"][1]["content"]
    assert [row["prompt"] for row in rows] == ["a green lamp", "two tall lamps"]
