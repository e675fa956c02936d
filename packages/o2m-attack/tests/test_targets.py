"""Models from folders, any model that only replies, servers, and what cannot be loaded."""

import json
import re
import sys

import pytest
import torch
import transformers

from auscult.core.errors import InputError
from auscult.o2m_attack import LlavaTarget, Query, Templates
from auscult.o2m_attack.targets.loading import load_target
from auscult.o2m_attack.targets.protocol import Target, WhiteBoxTarget
from auscult.o2m_attack.targets.tiny import tiny_llava


@pytest.fixture(scope="module", params=["llava", "llava_next"])
def saved(request, tmp_path_factory):
    """Return a target and the folder of its checkpoint, in the format of published ones."""
    target = tiny_llava(request.param, vocabulary=400)
    folder = tmp_path_factory.mktemp(request.param) / "model"
    save(target, folder)
    return target, folder


def save(target, folder):
    kind = {"llava": "LlavaProcessor", "llava_next": "LlavaNextProcessor"}[target.model.config.model_type]
    template = (
        "{% for m in messages %}USER: {% for part in m['content'] %}{{ part['text'] if part['type'] == 'text' "
        "else '<image>' }}{% endfor %}{% endfor %} ASSISTANT:"
    )
    processor = getattr(transformers, kind)(
        target.image_processor, target.tokenizer, patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=template,
    )  # fmt: skip
    target.model.save_pretrained(folder)
    processor.save_pretrained(folder)


def test_a_checkpoint_is_read_back(saved, record):
    target, folder = saved
    loaded = LlavaTarget.load(folder, device="cpu")
    assert re.fullmatch("model@[0-9a-f]{8}", loaded.name)
    assert isinstance(loaded, WhiteBoxTarget)
    image = loaded.preprocessor.clean(record.image)
    assert torch.equal(image, target.preprocessor.clean(record.image))
    assert loaded.prompts.render("Which?", " !") == target.prompts.render("Which?", " !")
    torch.testing.assert_close(loaded.loss(image, [], record), target.loss(image, [], record))
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert isinstance(load_target(str(folder), device="cpu", white_box=True), LlavaTarget)


def test_names_tell_models_of_one_folder_name_apart(saved, tmp_path):
    """A run and its replays know a model by its name: other weights, chats and types are other models."""
    target, folder = saved
    kind = target.model.config.model_type
    save(tiny_llava(kind, seed=1, vocabulary=400), tmp_path / "other" / "model")
    save(target, tmp_path / "same" / "model")
    first = load_target(str(folder), device="cpu").name
    same = Templates(target="Yes: {key_phrases}")  # which no reply depends on
    assert load_target(str(tmp_path / "same" / "model"), device="cpu", templates=same).name == first
    others = [
        load_target(str(tmp_path / "other" / "model"), device="cpu"),
        load_target(str(folder), device="cpu", dtype="bfloat16"),
        load_target(str(folder), device="cpu", chat="Q: {turn} A:"),
        load_target(str(folder), device="cpu", templates=Templates(turn="{question} {image} {suffix}")),
    ]
    assert all(other.name.startswith("model@") for other in others)
    assert len({first, *(other.name for other in others)}) == 5


def test_replies_do_not_depend_on_their_company(saved, new_record):
    target, _ = saved
    queries = [Query(new_record(seed).image, "Which colour?" * (1 + seed), " !" * seed) for seed in range(4)]
    alone = [target.generate([query], max_new_tokens=6)[0] for query in queries]
    assert target.generate(queries, max_new_tokens=6) == alone
    assert target.generate([]) == []


def test_replies_are_those_of_transformers_own_way(saved, record):
    """Features spliced in by hand against the processor's expanded placeholders."""
    from PIL import Image

    target, folder = saved
    processor = transformers.AutoProcessor.from_pretrained(folder)
    query = Query(record.image, "Which colour?", " !")
    if target.model.config.model_type == "llava_next":
        # The image that is optimised and saved: from then on both see the same tiles.
        from auscult.o2m_attack.preprocess import to_uint8

        query = Query(to_uint8(target.preprocessor.clean(record.image)), "Which colour?", " !")
    text = target.prompts.render(query.question, query.suffix)
    inputs = processor(images=Image.fromarray(query.image), text=text, return_tensors="pt")
    ids = target.model.generate(**inputs, max_new_tokens=6, do_sample=False, pad_token_id=0)
    theirs = processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    assert target.generate([query], max_new_tokens=6) == [theirs]


def test_any_image_and_text_model_replies(saved, record, monkeypatch):
    from auscult.o2m_attack.targets.chat import ChatTarget

    _, folder = saved
    processor = transformers.AutoProcessor.from_pretrained(folder)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    target = ChatTarget(model, processor, name="any")
    assert isinstance(target, Target)
    assert not isinstance(target, WhiteBoxTarget)
    replies = target.generate(
        [Query(record.image, "Which colour?"), Query(record.image, "Which?", " !")], max_new_tokens=5
    )
    assert len(replies) == 2
    assert all(isinstance(reply, str) for reply in replies)
    begin, seen = processor.tokenizer.bos_token_id, []
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda **given: seen.append(given["input_ids"]) or generate(**given))
    plain = processor.chat_template
    for template in (plain, "{{ bos_token }}" + plain):
        processor.chat_template = template
        target.generate([Query(record.image, "Which colour?")], max_new_tokens=1)
        assert seen[-1].tolist()[0].count(begin) == 1
    processor.chat_template = None
    with pytest.raises(InputError, match="has no chat template"):
        ChatTarget(model, processor, name="any")


def test_what_cannot_be_loaded(saved, tmp_path, monkeypatch):
    target, folder = saved
    with pytest.raises(InputError, match="there is no folder 'nowhere'"):
        LlavaTarget.load("nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        LlavaTarget.load(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot be loaded"):
        LlavaTarget.load(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(InputError, match="of type 'llama': llava, llava_next can be optimised on"):
        load_target(str(tmp_path / "other"), white_box=True)
    with pytest.raises(InputError, match="a server gives no gradients"):
        load_target("m", endpoint="http://127.0.0.1:1/v1", white_box=True)

    def needs_torchvision(*_, **__):
        raise ImportError("Llama4ImageProcessor requires the Torchvision library but it was not found")

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", needs_torchvision)
    with pytest.raises(InputError, match=r"needs torchvision, which auscult does without: save it in its PIL"):
        LlavaTarget.load(folder)
    assert "torchvision" not in sys.modules
    with pytest.raises(InputError, match="can be optimised on"):
        LlavaTarget(transformers.LlamaForCausalLM(transformers.LlamaConfig(
            vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )), target.tokenizer, target.image_processor, name="text only")  # fmt: skip


def test_tiny_models(record):
    assert load_target("tiny").name == "tiny"
    first, again = tiny_llava(seed=3), tiny_llava(seed=3)
    image = first.preprocessor.clean(record.image)
    assert torch.equal(first.loss(image, [], record), again.loss(image, [], record))
    with pytest.raises(InputError, match="tiny model 'qwen'"):
        tiny_llava("qwen")


def test_weights_that_are_missing_or_damaged_are_not_made_up(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    save(tiny_llava(vocabulary=400), folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    content = file.read_bytes()
    name = next(name for name in weights if name.endswith("q_proj.weight"))
    save_file({key: value for key, value in weights.items() if key != name}, file, metadata={"format": "pt"})
    for white_box in (True, False):
        with pytest.raises(InputError, match=r"lacks 1 of the weights of Llava\w+, such as .*q_proj.weight"):
            load_target(str(folder), device="cpu", white_box=white_box)
    save_file({**weights, name: weights[name][:3].clone()}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="cannot be loaded"):
        load_target(str(folder), device="cpu")
    file.write_bytes(content[:2000])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_target(str(folder), device="cpu")


@pytest.mark.serve
def test_a_server_is_asked_with_the_image_between_question_and_suffix(record):
    from auscult.core.endpoint import RequestFailedError
    from auscult.core.testing.server import Completion, Fail, ScriptedServer

    bodies = []

    def answer(body, number):
        bodies.append(body)
        if "fail" in json.dumps(body):
            return Fail(400)
        return Completion(None, refusal="I will not.") if number == 2 else " blue "

    with ScriptedServer(answer) as server:
        target = load_target("model-a", endpoint=server.base_url, templates=Templates())
        assert target.name == f"model-a at {server.base_url.removeprefix('http://')}"
        assert target.generate([Query(record.image, "Which?", " go")], max_new_tokens=7) == ["blue"]
        target.generate([Query(record.image, "Which?")])
        content = bodies[0]["messages"][0]["content"]
        assert [part["type"] for part in content] == ["text", "image_url", "text"]
        assert (content[0]["text"], content[2]["text"]) == ("Which?", "go")
        assert content[1]["image_url"]["url"].startswith("data:image/png;base64,")
        assert (bodies[0]["max_tokens"], bodies[0]["temperature"], bodies[0]["model"]) == (7, 0.0, "model-a")
        assert len(bodies[1]["messages"][0]["content"]) == 2
        with pytest.raises(RequestFailedError):
            target.generate([Query(record.image, "fail")])
