"""Seconds of candidate scoring and of an iteration on a CUDA device, with what comes before remembered and without.

The model has the shape of LLaVA 1.5 7B at 224 pixels and random weights, in bfloat16. Without a CUDA device this script
says so and ends; ``--quick`` runs its code on a tiny model on the CPU and stores nothing.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from models import begin, make_record
from rows import store, to_rows

from auscult.o2m_attack import AttackConfig, LlavaTarget
from auscult.o2m_attack.optimise.gcg import text_branch
from auscult.o2m_attack.optimise.pgd import ball, image_branch
from auscult.o2m_attack.targets.cache import Prefix
from auscult.o2m_attack.targets.tiny import tiny_image_processor, tiny_llava, tiny_tokenizer

WIDTHS = (64, 512)
LENGTH = 20
UNCACHED_BATCH = 64
TEXTS = ["USER: This image is about CT and Chest. Which colour has the marker? ASSISTANT: Sure, here is how to"]


def shaped_like_7b() -> LlavaTarget:
    """Return a random model of LLaVA 1.5 7B's shape on the device, in bfloat16."""
    tokenizer = tiny_tokenizer(TEXTS)
    vision = transformers.CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=224,
        patch_size=14, projection_dim=768,
    )  # fmt: skip
    language = transformers.LlamaConfig(vocab_size=32_064, max_position_embeddings=4096)
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=language, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
    )  # fmt: skip
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            model = transformers.LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    return LlavaTarget(model, tokenizer, tiny_image_processor("llava", 224), name="random 7B")


def timed(run: Callable[[], Any], repeats: int) -> tuple[list[float], float]:
    """Return the seconds of each repeat after one that is not counted, and the peak of the device's memory in GB."""
    cuda = torch.cuda.is_available()
    run()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return seconds, torch.cuda.max_memory_allocated() / 1e9 if cuda else 0.0


def main() -> None:
    quick = "--quick" in sys.argv
    if not quick and not torch.cuda.is_available():
        print("there is no CUDA device: nothing is measured")
        return
    target = tiny_llava(embedding=500) if quick else shaped_like_7b()
    where = "tiny" if quick else f"random 7B, bfloat16, {torch.cuda.get_device_name()}"
    rows: list[dict[str, Any]] = []
    for width in WIDTHS:
        objective, image = begin(target, make_record(), LENGTH)
        allowed = (~target.prompts.forbidden()).nonzero().flatten()
        draws = torch.randint(len(allowed), (width, LENGTH), generator=torch.Generator().manual_seed(0))
        candidates = allowed[draws]
        embed = target.language.embed
        before, between = torch.tensor(objective.segments.before), torch.tensor(objective.segments.between)

        @torch.inference_mode()
        def uncached(objective=objective, image=image, rows=candidates, before=before, between=between, embed=embed):
            """Score whole prompts, some at a time."""
            front = torch.cat([embed(before), target.features(image), embed(between)])
            found = []
            for part in rows.split(UNCACHED_BATCH):
                tail = objective._tail.expand(len(part), -1, -1)
                found.append(
                    objective._score(torch.cat([front.expand(len(part), -1, -1), embed(part), tail], 1), Prefix())
                )
            return torch.cat(found)

        config = AttackConfig(search_width=width, epsilon=8 / 255, suffix_length=LENGTH)
        low, high = ball(image, config.epsilon)

        def iteration(objective=objective, image=image, config=config, low=low, high=high):
            generator = torch.Generator().manual_seed(0)
            text_branch(objective, target.prompts, objective.suffix_ids, config, generator)
            moved = image_branch(objective, image, objective.suffix_ids, config, low, high)
            objective.candidate_losses(objective.suffix_ids[None], objective.prefix_of(moved))

        scoring = {"whole prompts": uncached, "o2m-attack": lambda o=objective, c=candidates: o.candidate_losses(c)}
        for what, providers in (
            (f"losses of {width} suffixes of {LENGTH} tokens, {where}", scoring),
            (f"one iteration of MCM, {width} candidates, 1 image step, {where}", {"o2m-attack": iteration}),
        ):
            measured = {name: timed(run, 2 if quick else 5) for name, run in providers.items()}
            rows += to_rows(what, "time", "s", {name: seconds for name, (seconds, _) in measured.items()})
            if not quick:
                rows += to_rows(what, "peak memory", "GB", {name: [peak] for name, (_, peak) in measured.items()})
    if not quick:
        store(rows)


if __name__ == "__main__":
    main()
