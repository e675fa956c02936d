"""The shapes world: captions, pictures, the judge that looks at them, and the script that makes its models."""

import json

import numpy as np
import pytest
import torch

from auscult.agfsync.shapes.captions import Group, Scene, is_held_out, parse_caption, sample_captions, sample_scene
from auscult.agfsync.shapes.drawing import draw, draw_many
from auscult.agfsync.shapes.looking import look, tidiness
from auscult.agfsync.shapes.questions import answer, judge, questions_of
from auscult.core.errors import InputError


def scenes(n, split="all", seed=0):
    random = np.random.default_rng(seed)
    return [sample_scene(random, split=split) for _ in range(n)]


def test_captions_are_read_back():
    for scene in scenes(200):
        assert parse_caption(scene.caption) == scene
    assert parse_caption("A red circle left of two blue squares.") == Scene(
        Group(1, "red", "circle"), "left of", Group(2, "blue", "square")
    )
    with pytest.raises(InputError, match="pink"):
        parse_caption("a pink circle")


def test_the_splits_share_no_triple():
    seen = {
        name: {triple for scene in scenes(300, name) for triple in scene.triples} for name in ("preference", "held-out")
    }
    assert not seen["preference"] & seen["held-out"]
    assert all(is_held_out(triple) for triple in seen["held-out"])
    assert len(seen["preference"] | seen["held-out"]) == 48
    assert len(seen["held-out"]) == 16
    with pytest.raises(InputError, match="test"):
        sample_scene(np.random.default_rng(0), split="test")


def test_captions_differ_and_too_many_are_refused():
    captions = sample_captions(50, np.random.default_rng(0), split="held-out")
    assert len(set(captions)) == 50
    with pytest.raises(InputError, match="different captions"):
        sample_captions(200, np.random.default_rng(0), split="held-out")


def test_the_judge_says_yes_to_what_was_drawn():
    drawn = scenes(150)
    random = np.random.default_rng(1)
    asked = [[item["question"] for item in questions_of(scene.caption)] for scene in drawn]
    found = judge(draw_many(drawn, random), asked)
    assert np.mean([np.mean(answers) for answers in found]) > 0.99
    others = judge(draw_many(drawn[1:] + drawn[:1], random), asked)
    assert np.mean([np.mean(answers) for answers in others]) < 0.45


def test_the_judge_sees_what_is_there():
    scene = parse_caption("a red circle left of two blue squares")
    (seen,) = look([draw(scene, np.random.default_rng(0))])
    assert sorted((thing.colour, thing.shape) for thing in seen) == [
        ("blue", "square"),
        ("blue", "square"),
        ("red", "circle"),
    ]
    truth = {
        "Is there a red circle?": True, "Is there a blue circle?": False, "Are there exactly two blue squares?": True,
        "Is there exactly one blue square?": False, "Is every red circle left of every blue square?": True,
        "Is every red circle right of every blue square?": False, "Is there something yellow?": False,
        "Is there a triangle?": False, "Are there exactly three objects?": True,
        "Is every green circle above every red circle?": False,
    }  # fmt: skip
    assert {question: answer(seen, question) for question in truth} == truth
    with pytest.raises(InputError, match="weather"):
        answer(seen, "How is the weather?")


def test_every_question_is_of_its_caption_and_there_are_enough():
    for scene in scenes(100):
        asked = questions_of(scene.caption)
        assert len(asked) >= 5
        assert len({item["question"] for item in asked}) == len(asked)
        assert any(item["element_type"] == "spatial" for item in asked) == (scene.relation is not None)


def test_tidiness_falls_with_noise_and_smears():
    clean = draw(parse_caption("a red circle above a green square"), np.random.default_rng(0))
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 20, clean.shape), 0, 255).astype(np.uint8)
    assert tidiness([clean])[0] > tidiness([noisy])[0] + 10
    assert look(np.zeros((0, 32, 32, 3), np.uint8)) == []
    for see in (look, tidiness):
        with pytest.raises(InputError, match="20 by 50"):
            see([clean, np.zeros((50, 20, 3), np.uint8)])


def test_the_models_that_come_along_are_small_and_plain_diffusers():
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPModel

    from auscult.agfsync.shapes.models import WEIGHTS

    size = sum(path.stat().st_size for path in WEIGHTS.rglob("*.safetensors"))
    assert size < 8_000_000
    pipeline = StableDiffusionPipeline.from_pretrained(WEIGHTS / "pipeline", local_files_only=True)
    count = sum(p.numel() for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder) for p in part.parameters())
    assert count < 4_000_000
    assert pipeline.unet.config.sample_size == 8
    CLIPModel.from_pretrained(WEIGHTS / "clip", local_files_only=True)
    log = [json.loads(line) for line in (WEIGHTS / "log.jsonl").read_text("utf-8").splitlines()]
    assert {line["stage"] for line in log} == {"vae", "decoder", "text", "unet", "clip"}


def test_the_clip_that_comes_along_prefers_the_right_caption():
    from PIL import Image

    from auscult.agfsync.config import ScoreConfig
    from auscult.agfsync.scoring.clip import CLIPScorer

    scorer = CLIPScorer.load(ScoreConfig())
    drawn = scenes(40, "held-out", seed=3)
    images = [Image.fromarray(picture) for picture in draw_many(drawn, np.random.default_rng(3))]
    similarity = scorer.embed_images(images) @ scorer.embed_texts([scene.caption for scene in drawn]).T
    assert np.mean(similarity.diagonal()[:, None] >= similarity) > 0.9


def test_the_model_that_comes_along_is_better_than_chance_and_not_perfect():
    from auscult.agfsync.candidates import draw as draw_candidates
    from auscult.agfsync.candidates import plan
    from auscult.agfsync.config import CandidatesConfig
    from auscult.agfsync.shapes.models import load_pipeline

    captions = sample_captions(24, np.random.default_rng(0), split="held-out")
    config = CandidatesConfig(num_candidates=1, steps=12, guidance_scale=3.0, batch_size=24)
    jobs = plan([{"id": text, "prompt": text} for text in captions], config, 0)
    ((_, pixels),) = draw_candidates(jobs, load_pipeline(), config)
    asked = [[item["question"] for item in questions_of(text)] for text in captions]
    right = np.mean([np.mean(answers) for answers in judge(pixels, asked)])
    others = np.mean([np.mean(answers) for answers in judge(pixels, asked[1:] + asked[:1])])
    assert others + 0.1 < right < 0.98


def test_fifty_steps_of_the_script_make_all_weights(tmp_path):
    from auscult.agfsync.shapes.make import make

    steps = {"vae": 8, "decoder": 4, "text": 20, "unet": 10, "clip": 8}
    torch.manual_seed(0)
    weights = make(tmp_path / "a", pictures=40, steps=steps)
    log = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text("utf-8").splitlines()]
    assert {line["stage"]: line["step"] for line in log} == steps
    assert (weights / "pipeline" / "model_index.json").exists()
    assert (weights / "clip" / "model.safetensors").exists()


def test_the_loop_goes_on_from_its_checkpoint_with_equal_weights(tmp_path):
    from auscult.agfsync.shapes.fitting import fit

    def train(folder, stop_at=None):
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        calls = []

        def loss(random):
            calls.append(1)
            if len(calls) == stop_at:
                raise KeyboardInterrupt
            x = torch.from_numpy(random.normal(size=(8, 4))).float()
            return (model(x + 0.1 * torch.randn_like(x)) - x.sum(1, keepdim=True)).square().mean()

        fit("m", {"m": model}, loss, folder=folder, steps=30, learning_rate=1e-2, seed=0, every=10)
        return model.weight, len(calls)

    whole, _ = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", stop_at=17)
    resumed, steps = train(tmp_path / "cut")
    assert steps == 20  # from the checkpoint of step 10
    assert torch.equal(resumed, whole)
