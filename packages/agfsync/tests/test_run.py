"""A run as a whole: stages, resume, configuration, commands, evaluation, sheets, export."""

import copy
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from auscult.agfsync.comparing import summarize
from auscult.agfsync.config import RunConfig, commented_example
from auscult.agfsync.demo import DEMO
from auscult.agfsync.evaluation import (
    by_element_type,
    compare,
    verdict_of_both_orders,
    verdicts_by_score,
    win_rate,
)
from auscult.agfsync.human import read_votes, write_sheet
from auscult.agfsync.pipeline import plan_run, run, without_place
from auscult.agfsync.training.job import last_checkpoint
from auscult.core.canonical import plain
from auscult.core.config import load_config
from auscult.core.errors import InputError, RunMismatchError
from auscult.core.testing import assert_one_sentence, assert_self_contained, files_below, imported_modules, run_command

SMALL = replace(
    DEMO,
    prompts=replace(DEMO.prompts, per_request=6),
    candidates=replace(DEMO.candidates, num_candidates=4, steps=3, batch_size=8),
    pairs=replace(DEMO.pairs, strategy="top_bottom_k", k=2),
    train=replace(DEMO.train, steps=4, batch_size=3, save_steps=2, ref_draws=2),
    evaluate=replace(DEMO.evaluate, num_prompts=4, images_per_prompt=2),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, run(SMALL, folder)


def test_a_run_does_all_stages_and_a_second_call_nothing(done):
    folder, summary = done
    assert summary["prompts"]["prompts"] == 6
    assert summary["candidates"] == {"images": 24, "black": 0}
    assert summary["score"]["images"] == 24
    assert sum(summary["pairs"]["variance_shares"].values()) == pytest.approx(1)
    # Four pictures a prompt hold two pairs at the most.
    assert 0 < summary["pairs"]["pairs"] <= 2 * 6
    assert summary["train"]["steps"] == 4
    found = summary["evaluate"]
    assert set(found["vqa"]) == {"base", "tuned", "difference"}
    assert found["vqa"]["base"]["ci"][0] <= found["vqa"]["base"]["value"] <= found["vqa"]["base"]["ci"][1]
    before = {name: value for name, value in files_below(folder).items() if "sqlite" not in name}
    assert run(SMALL, folder) == summary
    assert {name: value for name, value in files_below(folder).items() if "sqlite" not in name} == before


def test_the_report_stands_alone_and_says_what_was_measured(done):
    folder, _ = done
    page = (folder / "evaluate" / "report.html").read_text("utf-8")
    assert_self_contained(page)
    for words in ("Win rate", "implicit accuracy", "No triple", "Preferred and other"):
        assert words in page


def test_held_out_captions_share_no_triple_with_the_pairs(done):
    from auscult.agfsync.importing import read_pairs
    from auscult.agfsync.shapes.captions import parse_caption

    folder, _ = done
    rows = [json.loads(line) for line in (folder / "prompts" / "prompts.jsonl").read_text("utf-8").splitlines()]
    trained = {
        triple
        for row in read_pairs(folder / "pairs" / "pairs.parquet")
        for triple in parse_caption(row["caption"]).triples
    }
    assert trained
    from auscult.core.runs import RunStore

    with RunStore.read(folder / "evaluate" / "base") as store, RunStore.read(folder / "evaluate" / "tuned") as tuned:
        assert {key: row["seed"] for key, row in store.items()} == {key: row["seed"] for key, row in tuned.items()}
        evaluated = {triple for row in store.values() for triple in parse_caption(row["prompt"]).triples}
    assert evaluated
    assert not trained & evaluated
    assert len({row["id"] for row in rows}) == 6


def test_files_of_your_own_stand_for_any_stage(done, tmp_path):
    from auscult.agfsync.own import use
    from auscult.agfsync.stages import read_rows

    folder, _ = done
    own = tmp_path / "own"
    own.mkdir()

    def write(name, rows):
        (own / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return own / f"{name}.jsonl"

    asked = [
        {"id": row["id"], "prompt": row["prompt"], "questions": [{"question": q["question"]} for q in row["questions"]]}
        for row in read_rows(folder, "questions")
    ]
    drawn = [
        {"id": row["id"], "k": row["k"], "prompt": row["prompt"], "path": str(folder / "candidates" / row["path"])}
        for row in read_rows(folder, "candidates")
    ]
    # Pictures and questions of others are scored as the run's own were.
    root = tmp_path / "scored"
    assert use("candidates", write("candidates", drawn), root) == {"rows": 24}
    with pytest.raises(InputError, match="stage questions is not done"):
        run(SMALL, root, stages=["score"])
    assert use("questions", write("questions", asked), root) == {"rows": 6}
    run(SMALL, root, stages=["score", "pairs"])
    assert read_rows(root, "score") == read_rows(folder, "score")
    # So are pictures with scores paired, without any question.
    root = tmp_path / "paired"
    use("candidates", own / "candidates.jsonl", root)
    names = ("id", "k", "vqa", "clip", "aesthetic")
    use("score", write("score", [{name: row[name] for name in names} for row in read_rows(folder, "score")]), root)
    assert run(SMALL, root, stages=["score", "pairs"])["pairs"] == done[1]["pairs"]
    use("train", folder / "train" / "adapter", root)
    run(SMALL, root, stages=["evaluate"])
    assert "Preferred and other" in (root / "evaluate" / "report.html").read_text("utf-8")
    # And a tuned model is evaluated, for which nothing else has to be done.
    root = tmp_path / "evaluated"
    assert use("train", folder / "train" / "adapter", root) == {"export": "adapter"}
    use("questions", own / "questions.jsonl", root)
    plan = {row["stage"]: row["does"] for row in plan_run(SMALL, root)}
    assert [name for name in plan if plan[name] == "not needed"] == ["prompts", "candidates", "score", "pairs"]
    found = run(SMALL, root)
    assert list(found) == ["questions", "train", "evaluate"]
    assert found["evaluate"] == done[1]["evaluate"]
    assert use("train", folder / "train" / "adapter", root) == {"export": "adapter"}
    other = shutil.copytree(folder / "train" / "adapter", tmp_path / "other")
    weights = other / "pytorch_lora_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")  # as long as the first
    with pytest.raises(InputError, match="done with something else"):
        use("train", other, root)
    (root / "train" / "stage.json").unlink()
    with pytest.raises(InputError, match="did not end"):
        use("train", other, root)
    command = ["agfsync", "use", "score", own / "score.jsonl", "--out", tmp_path / "paired", "--json"]
    assert json.loads(run_command(*command).stdout) == {"score": {"rows": 24}}


def test_own_rows_keep_their_text_and_share_their_prompt(tmp_path, picture):
    from auscult.agfsync.own import use
    from auscult.agfsync.stages import read_rows

    (tmp_path / "0.png").write_bytes(picture(9))
    rows = [{"id": "a", "k": k, "prompt": "a red\u2028circle", "path": "0.png"} for k in range(2)]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8-sig")
    use("candidates", path, tmp_path / "run")
    assert [row["prompt"] for row in read_rows(tmp_path / "run", "candidates")] == ["a red\u2028circle"] * 2
    path.write_text("\n".join(json.dumps({**row, "prompt": str(row["k"])}) for row in rows), "utf-8")
    with pytest.raises(InputError, match="another prompt for 'a'"):
        use("candidates", path, tmp_path / "other")
    for value in ("true", '"5"'):
        path.write_text(f'{{"id": "a", "k": 0, "vqa": {value}}}', "utf-8")
        with pytest.raises(InputError, match="the vqa score"):
            use("score", path, tmp_path / "run")
    with (tmp_path / "run" / "candidates" / "candidates.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id"')
    with pytest.raises(InputError, match=r"line 3 of .*no JSON"):
        read_rows(tmp_path / "run", "candidates")


@pytest.mark.parametrize(
    ("stage", "text", "words"),
    [("questions", "{", "line 1"), ("questions", '{"id": 1, "prompt": "p"}', "'questions'"),
     ("questions", '{"id": 1, "prompt": "p", "questions": ["Is it?"]}', "no list of questions"),
     ("questions", '{"id": 1, "prompt": "p", "questions": [{"question": "Is it?", "answer": "no"}]}', "'no'"),
     ("questions", "", "no line"), ("candidates", '{"id": 1, "k": 0, "prompt": "p", "path": "x.png"}', "missing"),
     ("questions", '{"id": 1, "prompt": "p", "questions": [{"question": 5}]}', "no list of questions"),
     ("questions", '{"id": 1, "prompt": "p", "questions": [{"question": "Is it?", "element_type": "x"}]}', "'x'"),
     ("questions", '{"id": 1, "prompt": 5, "questions": []}', "the prompt 5"),
     ("questions", 2 * '{"id": 1, "prompt": "p", "questions": []}\n', "1 again, after line 1"),
     ("questions", '{"id": "../x", "prompt": "p", "questions": []}', "the id '../x'"),
     ("questions", '{"id": "a,b", "prompt": "p", "questions": []}', "the id 'a,b'"),
     ("candidates", '{"id": null, "k": 0, "prompt": "p", "path": "x.png"}', "the id None"),
     ("candidates", '{"id": 1, "k": "0", "prompt": "p", "path": "x.png"}', "the k '0'"),
     ("candidates", '{"id": 1, "k": 0, "prompt": "p", "path": 5}', "the path 5"),
     ("score", '{"id": 1, "k": 0, "vqa": 1}', "does not have"),
     ("score", 2 * '\n{"id": 1, "k": 0}\n', "line 4 .* 1/0 again, after line 2"),
     ("pairs", "", "--pairs"), ("train", "", "neither"),
     ("prompts", "", "backend")],
)  # fmt: skip
def test_files_that_cannot_stand_for_a_stage_are_refused(done, tmp_path, stage, text, words):
    from auscult.agfsync.own import use

    path = tmp_path / "mine.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=words):
        use(stage, path, done[0] if stage == "score" else tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="something else"):
        use("train", done[0] / "train" / "adapter", done[0])


def test_other_settings_in_the_same_folder_are_refused(done):
    folder, _ = done
    with pytest.raises(RunMismatchError, match="num_candidates: 4 -> 5"):
        run(replace(SMALL, candidates=replace(SMALL.candidates, num_candidates=5)), folder, stages=["candidates"])
    with pytest.raises(RunMismatchError, match="pairs"):
        run(replace(SMALL, pairs=replace(SMALL.pairs, preset="clip_aes")), folder, stages=["pairs"])


def test_an_interrupted_training_does_not_go_on_with_other_settings(done, tmp_path):
    root = tmp_path / "run"
    for stage in ("prompts", "questions", "candidates", "score", "pairs"):
        shutil.copytree(done[0] / stage, root / stage)
    run(SMALL, root, stages=["train"])
    (root / "train" / "stage.json").unlink()
    with pytest.raises(RunMismatchError, match="beta: 300 -> 5"):
        run(replace(SMALL, train=replace(SMALL.train, beta=5.0)), root, stages=["train"])
    assert run(SMALL, root, stages=["train"])["train"] == done[1]["train"]


def test_a_server_may_move(done):
    asked = replace(
        SMALL, score=replace(SMALL.score, vqa="endpoint", vqa_model="m", vqa_base_url="http://127.0.0.1:1/v1")
    )
    moved = replace(asked, score=replace(asked.score, vqa_base_url="http://127.0.0.1:2/v1"))
    assert without_place(asked.score) == without_place(moved.score) != without_place(SMALL.score)


def test_settings_under_which_nothing_came_to_be_are_forgotten(tmp_path):
    (tmp_path / "mine.txt").write_text("a red circle\n", "utf-8")
    config = replace(SMALL, prompts=replace(SMALL.prompts, backend="file", path=str(tmp_path / "mine.txt")))
    run(config, tmp_path / "run", stages=["prompts", "questions"])
    wrong = replace(config, candidates=replace(config.candidates, model=str(tmp_path / "nowhere")))
    with pytest.raises(InputError, match="cannot be loaded"):
        run(wrong, tmp_path / "run", stages=["candidates"])
    assert run(config, tmp_path / "run", stages=["candidates"])["candidates"]["images"] == 4


def test_a_changed_file_is_another_setting(done, tmp_path):
    file = tmp_path / "mine.yaml"
    root = shutil.copytree(done[0], tmp_path / "run")
    shutil.rmtree(root / "evaluate")
    changed = {
        "prompts": replace(
            RunConfig(),
            prompts=replace(RunConfig().prompts, backend="template", categories=str(file)),
            questions=replace(RunConfig().questions, backend="template"),
        ),
        "evaluate": replace(SMALL, evaluate=replace(SMALL.evaluate, prompts=str(file))),
    }
    shutil.rmtree(root / "prompts")
    texts = {"prompts": "- {{key: a, theme: t, examples: [One {0}, Two {0}]}}\n", "evaluate": "a {0} circle\n"}
    for stage, config in changed.items():
        file.write_text(texts[stage].format("red"), "utf-8")
        found = run(config, root, stages=[stage])
        assert run(config, root, stages=[stage]) == found
        file.write_text(texts[stage].format("blue"), "utf-8")
        with pytest.raises(RunMismatchError, match="red"):
            run(config, root, stages=[stage])


def test_captions_of_your_own_are_all_evaluated(done, tmp_path):
    from auscult.agfsync.comparing import captions_of

    texts = [f"a {colour} circle above two blue triangles" for colour in ("red", "green", "red")]
    (tmp_path / "mine.txt").write_text("\n".join(texts), "utf-8")
    config = replace(SMALL, evaluate=replace(SMALL.evaluate, prompts=str(tmp_path / "mine.txt")))
    config = replace(config, prompts=replace(config.prompts, dedup=replace(config.prompts.dedup, threshold=0.1)))
    assert [row["prompt"] for row in captions_of(config, tmp_path)] == texts[:2]


def test_pairs_of_your_own_may_be_a_folder(tmp_path, picture):
    for side, value in (("good", 200), ("bad", 40)):
        (tmp_path / "mine" / side).mkdir(parents=True)
        for name in "ab":
            (tmp_path / "mine" / side / f"{name}.png").write_bytes(picture(value))
            (tmp_path / "mine" / side / f"{name}.txt").write_text("a red circle", "utf-8")
    config = replace(SMALL, train=replace(SMALL.train, pairs=str(tmp_path / "mine"), steps=1))
    found = run(config, tmp_path / "run", stages=["train"])
    assert found["train"]["pairs"] == 2
    assert run(config, tmp_path / "run", stages=["train"]) == found
    (tmp_path / "mine" / "bad" / "a.png").write_bytes(picture(41))
    with pytest.raises(RunMismatchError, match="before gave"):
        run(config, tmp_path / "run", stages=["train"])


@pytest.mark.parametrize("preset", [None, "lcm"])
def test_the_model_that_is_tuned_is_compared_with_itself(sd, done, tmp_path, preset):
    from peft import LoraConfig

    from auscult.agfsync.own import use
    from auscult.agfsync.training.export import save_adapter
    from auscult.core.runs import RunStore

    model = str(tmp_path / "model")
    sd.save_pretrained(model)
    for name, fresh in (("tuned", True), ("lcm", False)):
        unet = copy.deepcopy(sd.unet)
        unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=fresh))
        save_adapter(unet, tmp_path / name)
    config = replace(
        SMALL, train=replace(SMALL.train, model=model),
        candidates=replace(SMALL.candidates, preset=preset, lcm_lora=str(tmp_path / "lcm")),
    )  # fmt: skip
    # An adapter that changes nothing: only the same model, drawing in the same way, gives the same pictures.
    use("train", tmp_path / "tuned", tmp_path / "run")
    run(config, tmp_path / "run", stages=["evaluate"])
    pixels = []
    for name in ("base", "tuned"):
        with RunStore.read(tmp_path / "run" / "evaluate" / name) as store:
            pixels.append([row["pixels"] for row in store.values()])
            assert {row["model"] for row in store.values()} == {model}
    assert pixels[0] == pixels[1]
    # A model that the configuration does not have was tuned.
    with pytest.raises(InputError, match="tuned the model 'shapes'"):
        run(config, done[0], stages=["evaluate"])


def test_stages_need_those_before_them(tmp_path):
    for stage, needed in (("questions", "prompts"), ("score", "candidates"), ("train", "pairs"), ("evaluate", "train")):
        with pytest.raises(InputError, match=f"agfsync {needed}"):
            run(SMALL, tmp_path, stages=[stage])
    with pytest.raises(InputError, match="no stage 'tune'"):
        run(SMALL, tmp_path, stages=["tune"])


def test_the_exported_adapter_loads_in_plain_diffusers(done, tmp_path):
    """In a process that imports nothing of ours."""
    from auscult.agfsync.shapes.models import WEIGHTS

    folder, _ = done
    script = (
        "import sys, torch\n"
        "from diffusers import StableDiffusionPipeline\n"
        "pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1], torch_dtype=torch.float32)\n"
        "latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))\n"
        "draw = lambda: pipe('a red circle', latents=latents, num_inference_steps=2, output_type='np').images\n"
        "base = draw()\n"
        "pipe.load_lora_weights(sys.argv[2])\n"
        "tuned = draw()\n"
        "assert abs(tuned - base).max() > 0\n"
        "pipe.unload_lora_weights()\n"
        "assert (draw() == base).all()\n"
        "assert not any(name.startswith('auscult') for name in sys.modules)\n"
        "print('loaded')\n"
    )
    done_ = run_command("-c", script, WEIGHTS / "pipeline", folder / "train" / "adapter")
    assert done_.stdout.strip().endswith("loaded"), done_.stderr[-800:]


@pytest.mark.parametrize("targets", ["attention", "all"])
def test_an_exported_adapter_is_the_whole_adapter(sd, tmp_path, targets):
    import torch

    from auscult.agfsync.training.export import load_adapter, save_adapter
    from auscult.agfsync.training.job import adapter_config

    plain_unet = copy.deepcopy(sd.unet)
    config = adapter_config(replace(DEMO.train, lora_rank=4, lora_targets=targets), seed=0)
    sd.unet.add_adapter(config)
    for name, parameter in sd.unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    save_adapter(sd.unet, tmp_path)
    noisy, t, states = torch.randn(2, 4, 8, 8), torch.tensor([5, 700]), torch.randn(2, 16, 96)
    with torch.no_grad():
        wanted = sd.unet(noisy, t, states).sample
        assert not torch.allclose(wanted, plain_unet(noisy, t, states).sample)
        sd.register_modules(unet=copy.deepcopy(plain_unet))
        sd.load_lora_weights(tmp_path)
        assert torch.equal(sd.unet(noisy, t, states).sample, wanted)
        plain_unet.add_adapter(config)
        load_adapter(plain_unet, tmp_path)
        assert torch.equal(plain_unet(noisy, t, states).sample, wanted)


def test_full_fine_tuning_exports_a_pipeline_and_an_interrupted_training_goes_on(done, tmp_path):
    from diffusers import StableDiffusionPipeline

    from auscult.agfsync.training.job import train

    folder, _ = done
    settings = replace(SMALL.train, lora_rank=0, learning_rate=1e-4)
    pairs = folder / "pairs" / "pairs.parquet"
    train(pairs, "shapes", settings, tmp_path / "whole", seed=0)
    train(pairs, "shapes", replace(settings, steps=4), tmp_path / "cut", seed=0)
    # As if it had been killed after its first checkpoint, while it wrote the second.
    (tmp_path / "cut" / "checkpoint-4" / "trainer_state.json").unlink()
    assert last_checkpoint(tmp_path / "cut").name == "checkpoint-2"
    train(pairs, "shapes", settings, tmp_path / "cut", seed=0)
    one, other = (StableDiffusionPipeline.from_pretrained(tmp_path / name / "pipeline") for name in ("whole", "cut"))
    for (name, value), again in zip(one.unet.state_dict().items(), other.unet.state_dict().values(), strict=True):
        assert (value == again).all(), name


def test_every_setting_of_the_training_arrives(tmp_path):
    from auscult.agfsync.training.job import _arguments

    changed = {"beta": 7.0, "loss_type": "ipo", "ref_draws": 3, "split_backward": True, "timestep_set": (249, 999),
               "guard_window": 9, "learning_rate": 2e-6, "warmup_steps": 11, "save_steps": 13}  # fmt: skip
    arguments = _arguments(replace(SMALL.train, **changed), tmp_path, "cpu", "float32", seed=5)
    found = {name: getattr(arguments, name) for name in changed}
    assert found == changed | {"timestep_set": [249, 999]}
    assert (arguments.precompute_ref_log_probs, arguments.seed, arguments.max_steps) == (True, 5, SMALL.train.steps)


def test_a_cache_of_another_model_or_resolution_is_refused(sd, rows, tmp_path):
    import torch

    from auscult.agfsync import cache_pairs

    first = cache_pairs(rows, sd, tmp_path / "cache", resolution=32)
    again = cache_pairs(rows, sd, tmp_path / "cache", resolution=32, batch_size=3)
    assert torch.equal(first[7]["mean_l"], again[7]["mean_l"])
    with pytest.raises(InputError, match="another model"):
        cache_pairs(rows, sd, tmp_path / "cache", resolution=16)
    with pytest.raises(InputError, match="another model"):
        cache_pairs(rows[:7], sd, tmp_path / "cache", resolution=32)
    for part in (sd.vae, sd.text_encoder):
        weight = next(part.parameters())
        kept = weight.detach().clone()
        try:
            with torch.no_grad():
                weight.view(-1)[0] += 1e-3
            with pytest.raises(InputError, match="another model"):
                cache_pairs(rows, sd, tmp_path / "cache", resolution=32)
        finally:
            with torch.no_grad():
                weight.copy_(kept)
    assert len(cache_pairs(rows, sd, tmp_path / "cache", resolution=32)) == 8


def test_a_cache_holds_scaled_posteriors_of_every_row(sd, rows, tmp_path, picture):
    import io

    import torch
    from PIL import Image

    from auscult.agfsync import cache_pairs

    cache = cache_pairs(rows[:5], sd, tmp_path / "cache", resolution=32, batch_size=4)  # the last batch has one row
    assert len(cache) == 5
    pixels = (
        torch.from_numpy(np.asarray(Image.open(io.BytesIO(rows[4]["bad_jpg"])), np.float32)).permute(2, 0, 1) / 127.5
        - 1
    )
    with torch.no_grad():
        posterior = sd.vae.encode(pixels[None]).latent_dist
    scale = sd.vae.config.scaling_factor
    torch.testing.assert_close(cache[4]["mean_l"], posterior.mean[0] * scale, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cache[4]["std_l"], posterior.std[0] * scale, rtol=1e-4, atol=1e-5)
    embeds = sd.encode_prompt([rows[4]["caption"]], "cpu", 1, False)[0][0]
    torch.testing.assert_close(cache[4]["prompt_embeds"], embeds, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="resolution 30"):
        cache_pairs(rows, sd, tmp_path / "other", resolution=30)
    with pytest.raises(InputError, match="no pair"):
        cache_pairs([], sd, tmp_path / "other", resolution=32)
    torn = [{**rows[0], "bad_jpg": rows[0]["bad_jpg"][:60]}]
    with pytest.raises(InputError, match="bad_jpg"):
        cache_pairs(torn, sd, tmp_path / "other", resolution=32)
    assert not list(tmp_path.glob(".other*"))
    assert not (tmp_path / "other").exists()
    assert picture(3)


def test_the_commented_example_is_the_default_configuration(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(commented_example(), "utf-8")
    assert load_config(RunConfig, path) == RunConfig()
    assert "# Pictures a prompt." in commented_example()


def test_the_default_configuration_is_of_one_world(tmp_path):
    config = replace(RunConfig(), candidates=replace(RunConfig().candidates, num_candidates=2, steps=2))
    assert run(config, tmp_path, stages=["prompts", "questions", "candidates", "score"])["score"]["images"] >= 20


def test_a_plan_counts_before_anything_is_done(done):
    plan = {row["stage"]: row for row in plan_run(DEMO)}
    assert plan["prompts"]["does"] == "320 prompts"
    assert plan["candidates"]["model_calls"] == 320 * 8 * 10
    assert plan["train"]["does"] == "250 steps, 4000 pairs seen"
    assert plan["train"]["model_calls"] == 2 * 2 * 4000  # policy and reference, both pictures
    assert plan_run(SMALL, done[0]) == [{"stage": name, "does": "done", "model_calls": 0} for name in plan]
    plan = {row["stage"]: row for row in plan_run(replace(DEMO, train=replace(DEMO.train, ref_draws=2)))}
    assert plan["train"]["model_calls"] == 2 * 4000 + 2 * 320 * 2


def scored(values, id="a"):
    return [
        {"id": id, "k": k, "vqa": v, "clip": None, "aesthetic": 50.0, "prompt": "p", "vqa_yes": [(v or 0) / 100]}
        for k, v in enumerate(values)
    ]


def test_tifa_is_the_mean_over_captions_of_their_means():
    base = scored([0.0, 100.0, 100.0], "a") + scored([50.0], "b")
    tuned = scored([100.0, 100.0, 100.0], "a") + scored([50.0], "b")
    found = compare(base, tuned, "vqa")
    assert found.base.value == pytest.approx((200 / 3 + 50) / 2)
    assert found.tuned.value == 75
    assert found.difference.value == pytest.approx(75 - found.base.value)
    assert compare(base, tuned, "clip") is None
    with pytest.raises(InputError, match="different pictures"):
        compare(base, tuned[:-1], "vqa")
    kinds = by_element_type(base, {"a": [{"element_type": "color"}], "b": [{"element_type": "shape"}]})
    assert kinds == {"color": pytest.approx(200 / 3), "shape": 50}


def test_a_win_rate_counts_ties_half_and_captions_once():
    base, tuned = scored([50.0, 50.0, 50.0]), scored([100.0, 50.0, 0.0])
    verdicts = verdicts_by_score(base, tuned, ["vqa"])
    assert [value for _, value in verdicts] == [1, 0.5, 0]
    found = win_rate([*verdicts, *[(str(i), 1.0) for i in range(9)]])
    assert (found.wins, found.ties, found.losses) == (10, 1, 1)
    assert found.rate.value == pytest.approx(10.5 / 12)
    assert found.p_value == pytest.approx(2 * 0.5**9)
    assert win_rate([("a", 0.5)]).p_value == 1
    with pytest.raises(InputError, match="no verdict"):
        win_rate([])


def test_a_picture_without_a_score_is_in_no_win_rate():
    base, tuned = scored([50.0, 50, 50]), scored([100.0, None, float("nan")])
    assert verdicts_by_score(base, tuned, ["vqa"]) == [("a", 1.0)]
    assert verdicts_by_score(base, tuned) == [("a", 1.0), ("a", 0.5), ("a", 0.5)]


def test_a_judge_who_contradicts_itself_says_nothing():
    assert verdict_of_both_orders("second", "first") == 1
    assert verdict_of_both_orders("first", "second") == 0
    for answers in (("first", "first"), ("second", "second"), (None, "first"), (None, None)):
        assert verdict_of_both_orders(*answers) == 0.5


def test_equal_models_do_not_differ():
    rows = scored([10.0, 60.0], "a") + scored([70.0, 20.0], "b")
    found = summarize(rows, rows, {})
    assert found["vqa"]["difference"] == {"value": 0, "ci": [0, 0]}
    assert found["win_rate"]["overall"]["rate"] == {"value": 0.5, "ci": [0.5, 0.5]}


def test_hps_is_asked_of_its_own_package(done, tmp_path, monkeypatch):
    import sys
    from types import SimpleNamespace

    from auscult.agfsync.comparing import add_hps
    from auscult.core.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "hpsv2", None)
    with pytest.raises(MissingDependencyError, match="hpsv2"):
        add_hps([], tmp_path, "v2.0")
    shutil.copytree(done[0] / "train", tmp_path / "train")
    with pytest.raises(MissingDependencyError, match="hpsv2"):
        run(replace(SMALL, evaluate=replace(SMALL.evaluate, hps="v2.0")), tmp_path, stages=["evaluate"])
    assert not (tmp_path / "evaluate").exists()
    asked = []
    fake = SimpleNamespace(score=lambda path, prompt, hps_version: asked.append((prompt, hps_version)) or [0.27])
    monkeypatch.setitem(sys.modules, "hpsv2", fake)
    rows = [{**row, "path": "x.png"} for row in scored([10.0, 60.0])]
    add_hps(rows, tmp_path, "v2.1")
    assert asked == [("p", "v2.1")] * 2
    assert summarize(rows, rows, {})["hps"]["base"]["value"] == pytest.approx(27)


def test_votes_of_people_are_read_back_whatever_the_side(done, tmp_path):
    from auscult.agfsync.jobs import evaluated_rows

    folder, _ = done
    base, tuned, images = evaluated_rows(folder)
    count = write_sheet(base, tuned, images, tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text("utf-8")
    assert count == page.count("<fieldset id=") == 8
    assert "http" not in page
    import re

    lines = ["item,choice"]
    for item in re.findall(r'<fieldset id="([^"]+)".*?</fieldset>', page):
        left = re.search(rf'<fieldset id="{item}".*?alt="left" src="data:image/png;base64,([^"]+)"', page)[1]
        import base64

        id, _, k = item.rpartition("-")
        mine = next(row for row in tuned if (row["id"], row["k"]) == (id, int(k)))
        other = next(row for row in base if (row["id"], row["k"]) == (id, int(k)))
        if (images / mine["path"]).read_bytes() == (images / other["path"]).read_bytes():
            lines.append(f"{item},tie")
            continue
        is_left = base64.b64decode(left) == (images / mine["path"]).read_bytes()
        lines.append(f"{item},{'left' if is_left else 'right'}")
    (tmp_path / "votes.csv").write_text("\n".join(lines) + "\n", "utf-8")
    votes = read_votes(tmp_path / "votes.csv")
    assert len(votes) == 8
    assert {value for _, value in votes} <= {1.0, 0.5}
    (tmp_path / "bad.csv").write_text("item,choice\na-0,both\n", "utf-8")
    with pytest.raises(InputError, match="line 2"):
        read_votes(tmp_path / "bad.csv")
    (tmp_path / "bad.csv").write_text("item,choice\n0,left\n", "utf-8-sig")  # as spreadsheets save it
    with pytest.raises(InputError, match="the item '0'"):
        read_votes(tmp_path / "bad.csv")


def test_importing_the_package_loads_no_torch():
    loaded = imported_modules("import auscult.agfsync, auscult.agfsync.cli")
    assert not {"torch", "transformers", "diffusers", "pandas"} & loaded


@pytest.mark.parametrize(
    ("text", "words"),
    [("candidates: {num_candidate: 4}", "did you mean 'num_candidates'"), ("score: {vqa: blip2}", "vqa_model"),
     ("pairs: {preset: mine}", "mine"), ("train: {steps: 0}", "steps is 0"), ("train: {beta: 0}", "beta is 0"),
     ("train: {learning_rate: -1}", "learning_rate"), ("score: {batch_size: 0}", "batch_size is 0"),
     ("questions: {samples: 0}", "samples is 0"), ("questions: {max_questions: 2}", "max_questions is 2: use 5"),
     ("prompts: {llm: {attempts: 0}}", "attempts is 0"), ("prompts: {path: x}", "path is given, but backend is shapes"),
     ("prompts: {categories: x}", "categories is given"), ("questions: {llm: {model: x}}", "llm is given"),
     ("score: {vqa_model: x}", "vqa_model is given"), ("score: {aesthetic_head: x}", "set aesthetic to laion"),
     ("seed: -1", "seed is -1"),
     ("candidates: {num_candidates: 0}", "use 1"),
     ("{prompts: {backend: template}, questions: {backend: template}}", "score.vqa"),
     ("candidates: {steps: many}", "whole number"), ("train: [", "not YAML")],
)  # fmt: skip
def test_a_wrong_configuration_is_one_sentence(tmp_path, text, words):
    (tmp_path / "config.yaml").write_text(text, "utf-8")
    assert_one_sentence(run_command("agfsync", "run", "config.yaml", cwd=tmp_path), words)
    assert files_below(tmp_path).keys() == {"config.yaml"}


def test_the_commands(tmp_path, monkeypatch, capsys):
    from auscult.agfsync.cli import app
    from auscult.core import cli

    assert run_command("agfsync", "--version").stdout.startswith("agfsync ")
    text = run_command("agfsync", "init").stdout
    (tmp_path / "config.yaml").write_text(text, "utf-8")
    plan = run_command("agfsync", "run", "config.yaml", "--dry-run", "--json", cwd=tmp_path)
    assert [row["stage"] for row in json.loads(plan.stdout)["plan"]] == [
        "prompts", "questions", "candidates", "score", "pairs", "train", "evaluate",
    ]  # fmt: skip
    (tmp_path / "mine.txt").write_text("a red circle\ntwo blue squares\n", "utf-8")
    (tmp_path / "mine.yaml").write_text(
        "prompts: {backend: file, path: mine.txt}\nquestions: {min_questions: 1}\n", "utf-8"
    )
    found = run_command("agfsync", "prompts", "mine.yaml", "--json", cwd=tmp_path)
    assert json.loads(found.stdout)["prompts"]["prompts"] == 2
    monkeypatch.chdir(tmp_path)
    for words, part in (("train --pairs none.parquet", "none.parquet"), ("votes none.csv", "none.csv"),
                        ("sheet --out none", "evaluate")):  # fmt: skip
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.run(app, words.split())
        said = capsys.readouterr()
        assert (ended.value.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert part in said.err
    assert not Path(tmp_path / "none").exists()


@pytest.mark.browser
def test_the_report_looks_right_in_a_browser(done):
    from auscult.core.testing.browser import find_chromium, open_in_chromium

    if find_chromium() is None:
        pytest.skip("no Chromium on the path")
    folder, _ = done
    for width in (1200, 390):
        page = open_in_chromium(folder / "evaluate" / "report.html", width)
        assert page.title == "Does the tuned model follow the prompt better?"
        assert page.console_errors == []
        assert page.requests == []
        assert page.scroll_width <= width


def test_a_full_disk_is_one_sentence_at_every_stage_and_a_second_call_goes_on(done, tmp_path, monkeypatch, capsys):
    import errno

    import pyarrow.parquet
    import safetensors.torch

    from auscult.agfsync.cli import app
    from auscult.core import cli
    from auscult.core.canonical import plain

    config, folder = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(json.dumps(plain(SMALL)), "utf-8")

    def command(stage):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.run(app, [stage, str(config), "--out", str(folder)])
        return ended.value.code, capsys.readouterr()

    def write_half(self, *_, **__):
        with open(self, "wb") as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    def rust_full(*_, **__):
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    broken = {
        "prompts": [(Path, "write_text", write_half)],
        "questions": [(Path, "write_text", write_half)],
        "candidates": [(Path, "write_bytes", write_half)],
        "score": [(Path, "write_text", write_half)],
        "pairs": [(pyarrow.parquet, "write_table", full)],
        "train": [(np.lib.format, "open_memmap", full), (safetensors.torch, "save_file", rust_full)],
        "evaluate": [(Path, "write_bytes", write_half), (Path, "write_text", write_half)],
    }
    for stage, places in broken.items():
        for where, name, fail in places:
            with monkeypatch.context() as patched:
                patched.setattr(where, name, fail)
                code, said = command(stage)
            assert (code, said.out, said.err.count("\n")) == (1, "", 1), said.err
            assert "No space left" in said.err
            assert not (folder / stage / "stage.json").exists()
            assert not [path for path in folder.rglob("*") if ".part" in path.name]
        code, said = command(stage)
        assert code == 0, said.err
    assert run(SMALL, folder) == done[1]


def test_a_run_that_was_killed_goes_on_to_the_same_result(done, tmp_path):
    (tmp_path / "config.yaml").write_text(json.dumps(plain(SMALL)), "utf-8")
    command = [sys.executable, "-m", "auscult.agfsync", "run", tmp_path / "config.yaml", "--out", tmp_path / "run"]
    with subprocess.Popen(command) as process:
        while not list((tmp_path / "run").glob("train/checkpoint-2/trainer_state.json")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "run" / "evaluate" / "stage.json").exists()
    assert run(SMALL, tmp_path / "run") == done[1]
    for name in ("pairs/pairs.parquet", "score/score.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (done[0] / name).read_bytes()
    # The header of a file of weights holds its metadata in no fixed order.
    name = "train/adapter/pytorch_lora_weights.safetensors"
    again, whole = (load_file(root / name) for root in (tmp_path / "run", done[0]))
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[key], whole[key]) for key in whole)
