"""Property 13 of the method, and what the released generator got wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from auscult.agfsync import generate_candidates
from auscult.agfsync.candidates import draw, inputs_of, load_pipeline, plan
from auscult.agfsync.config import CandidatesConfig
from auscult.agfsync.images import open_image
from auscult.core.errors import InputError
from auscult.core.runs import RunStore

PROMPTS = [
    {"id": "a", "prompt": "a red circle"},
    {"id": "b", "prompt": "two blue squares"},
    {"id": "c", "prompt": "a green triangle"},
]
CONFIG = CandidatesConfig(
    model="tiny", num_candidates=3, steps=2, guidance_scale=2.0, batch_size=4, embed_noise_std=0.5
)


def generate(pipeline, folder, prompts=PROMPTS, config=CONFIG, **options):
    with RunStore.open(folder, config={"test": 1}) as store:
        rows = generate_candidates(prompts, pipeline, config, seed=0, store=store, **options)
    return {(row["id"], row["k"]): np.asarray(open_image(folder / row["path"])) for row in rows}, rows


def assert_same(one, other):
    for key in one.keys() & other.keys():
        assert np.array_equal(one[key], other[key]), key


def test_pictures_do_not_depend_on_company_order_shard_or_interruption(sd, tmp_path):
    whole, rows = generate(sd, tmp_path / "whole")
    assert len(whole) == 9
    assert len({picture.tobytes() for picture in whole.values()}) == 9
    alone, _ = generate(sd, tmp_path / "alone", [PROMPTS[1]])
    backwards, _ = generate(sd, tmp_path / "backwards", PROMPTS[::-1])
    shards = [generate(sd, tmp_path / f"shard{rank}", shard=(rank, 2))[0] for rank in range(2)]
    assert shards[0].keys() | shards[1].keys() == whole.keys()
    for other in (alone, backwards, *shards):
        assert_same(whole, other)
    # A picture that is lost or damaged is made again, and nothing else.
    folder = tmp_path / "whole"
    lost, torn = folder / rows[0]["path"], folder / rows[5]["path"]
    lost.unlink()
    torn.write_bytes(torn.read_bytes()[:40])
    kept = {row["path"]: (folder / row["path"]).stat().st_mtime_ns for row in rows[1:5]}
    again, _ = generate(sd, folder)
    assert_same(whole, again)
    assert kept == {name: (folder / name).stat().st_mtime_ns for name in kept}


def test_picture_0_is_the_plain_pipeline_s_for_its_seed(sd, tmp_path):
    job = plan(PROMPTS[:1], CONFIG, 0)[0]
    ((_, pixels),) = draw([job], sd, replace(CONFIG, batch_size=1))
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(job.seed))
    with torch.inference_mode():
        plain = sd("a red circle", latents=latents, num_inference_steps=2, guidance_scale=2.0, output_type="np").images[
            0
        ]
    assert np.array_equal(pixels[0], (plain * 255).round().astype(np.uint8))


def test_another_batch_size_agrees_within_one_level(sd):
    jobs = plan(PROMPTS, CONFIG, 0)
    one, many = ([p for _, part in draw(jobs, sd, replace(CONFIG, batch_size=size)) for p in part] for size in (1, 9))
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(one, many, strict=True)) <= 1


def test_noise_is_on_the_conditional_embedding_alone_and_not_on_picture_0(sd):
    noisy = inputs_of(plan(PROMPTS[:1], CONFIG, 0), sd, CONFIG)
    clean = inputs_of(plan(PROMPTS[:1], replace(CONFIG, embed_noise_std=0.0), 0), sd, CONFIG)
    assert torch.equal(noisy["prompt_embeds"][0], clean["prompt_embeds"][0])
    for k in (1, 2):
        off = noisy["prompt_embeds"][k] - clean["prompt_embeds"][k]
        assert off.std().item() == pytest.approx(0.5, rel=0.1)
    assert torch.equal(clean["prompt_embeds"], clean["prompt_embeds"][:1].expand(3, -1, -1))
    assert torch.equal(noisy["negative_prompt_embeds"], clean["negative_prompt_embeds"])
    assert torch.equal(noisy["latents"], clean["latents"])


def test_sdxl_s_pooled_embedding_of_picture_0_is_clean_too(sdxl):
    inputs = inputs_of(plan(PROMPTS[:1], CONFIG, 0), sdxl, CONFIG)
    plain = sdxl.encode_prompt(["a red circle"], device="cpu", num_images_per_prompt=1)
    assert torch.equal(inputs["pooled_prompt_embeds"][0], plain[2][0])
    assert torch.equal(inputs["prompt_embeds"][0], plain[0][0])
    off = inputs["pooled_prompt_embeds"][1] - plain[2][0]
    assert 0.3 < off.std().item() < 0.7
    assert torch.equal(inputs["negative_pooled_prompt_embeds"][1], plain[3][0])
    ((_, pixels),) = draw(plan(PROMPTS[:1], CONFIG, 0), sdxl, CONFIG)
    assert pixels.shape == (3, 32, 32, 3)


def test_every_prompt_has_latents_of_its_own_and_both_seeds_are_kept(sd, tmp_path):
    jobs = plan(PROMPTS, CONFIG, 0)
    seeds = [job.seed for job in jobs] + [job.noise_seed for job in jobs]
    assert len(set(seeds)) == len(seeds)
    _, rows = generate(sd, tmp_path)
    assert [(row["seed"], row["noise_seed"]) for row in rows] == [(job.seed, job.noise_seed) for job in jobs]
    assert {"scheduler", "steps", "guidance", "height", "width", "batch_size", "model"} <= rows[0].keys()


@pytest.mark.parametrize(
    ("diversity", "latents", "noises"), [("both", 3, 2), ("embed_noise", 1, 2), ("seed_only", 3, 0)]
)
def test_what_differs_between_pictures(diversity, latents, noises):
    jobs = plan(PROMPTS[:1], replace(CONFIG, diversity=diversity), 0)
    assert len({job.seed for job in jobs}) == latents
    assert sum(job.noise_std > 0 for job in jobs) == noises


def test_black_pictures_are_marked(sd, tmp_path, monkeypatch):
    import auscult.agfsync.candidates as module

    monkeypatch.setattr(
        module, "draw", lambda jobs, *_: [(jobs, np.zeros((len(jobs), 32, 32, 3), np.uint8))] if jobs else []
    )
    _, rows = generate(sd, tmp_path)
    assert all(row["black"] for row in rows)


@pytest.mark.parametrize("kind", ["webp", "parquet"])
def test_webp_is_lossless_and_parquet_holds_the_bytes(sd, tmp_path, kind):
    png, _ = generate(sd, tmp_path / "png", PROMPTS[:1])
    other, rows = generate(sd, tmp_path / kind, PROMPTS[:1], replace(CONFIG, image_format=kind))
    assert_same(png, other)
    if kind == "parquet":
        import pyarrow.parquet

        from auscult.agfsync.candidates import export_parquet

        export_parquet(rows, tmp_path / kind, tmp_path / "all.parquet")
        table = pyarrow.parquet.read_table(tmp_path / "all.parquet").to_pylist()
        assert np.array_equal(np.asarray(open_image(table[0]["image"])), png["a", 0])


def test_a_full_disk_leaves_no_half_picture(sd, tmp_path, monkeypatch):
    import errno
    from pathlib import Path

    real, written = Path.write_bytes, []

    def write(self, content):
        if len(written) == 2:
            real(self, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        written.append(self)
        return real(self, content)

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(OSError, match="No space"):
        generate(sd, tmp_path)
    monkeypatch.undo()
    images = list((tmp_path / "images").iterdir())
    assert len(images) == 2
    assert all(open_image(path) for path in images)
    again, _ = generate(sd, tmp_path)
    whole, _ = generate(sd, tmp_path / "whole")
    assert_same(whole, again)


def test_a_saved_pipeline_of_any_sd_version_is_loaded(sd, tmp_path):
    sd.save_pretrained(tmp_path / "model")
    loaded = load_pipeline(CandidatesConfig(model=str(tmp_path / "model"), device="cpu"))
    assert type(loaded).__name__ == "StableDiffusionPipeline"


def test_the_lcm_preset_fuses_its_adapter_and_takes_its_scheduler(sd, tmp_path):
    from peft import LoraConfig

    from auscult.agfsync.training.export import save_adapter

    sd.save_pretrained(tmp_path / "model")
    before = sd.unet.state_dict()["mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"].clone()
    sd.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    save_adapter(sd.unet, tmp_path / "lora")
    config = CandidatesConfig(
        model=str(tmp_path / "model"), device="cpu", preset="lcm", lcm_lora=str(tmp_path / "lora")
    )
    assert (config.steps, config.guidance_scale) == (5, 1.0)
    fused = load_pipeline(config)
    assert type(fused.scheduler).__name__ == "LCMScheduler"
    ((_, pixels),) = draw(
        plan(PROMPTS[:1], replace(config, num_candidates=2), 0), fused, replace(config, num_candidates=2, batch_size=2)
    )
    assert pixels.shape == (2, 32, 32, 3)
    # Its scheduler draws noise in every step, which is each picture's own.
    jobs = plan(PROMPTS[:1], replace(config, num_candidates=2), 0)
    ((_, alone),) = draw(jobs[1:], fused, replace(config, num_candidates=2, batch_size=2))
    assert (alone[0] == pixels[1]).all()
    weights = {
        name: value
        for name, value in fused.unet.state_dict().items()
        if "mid_block" in name and "attn1.to_q" in name and "lora" not in name
    }
    assert not torch.equal(next(iter(weights.values())), before)


def test_what_cannot_be_loaded_or_asked_is_refused(sd, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        load_pipeline(CandidatesConfig(model=str(tmp_path / "nowhere"), device="cpu"))
    sd.save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match=r"adapter .*nothing"):
        load_pipeline(
            CandidatesConfig(
                model=str(tmp_path / "model"), device="cpu", preset="lcm", lcm_lora=str(tmp_path / "nothing")
            )
        )
    with pytest.raises(InputError, match="shard 2 of 2"):
        generate(sd, tmp_path, shard=(2, 2))
    with pytest.raises(InputError, match="height is 30"):
        generate(sd, tmp_path, config=replace(CONFIG, height=30))
    for options in ({"num_candidates": 0}, {"embed_noise_std": -1.0}):
        with pytest.raises(InputError, match="use"):
            CandidatesConfig(**options)
