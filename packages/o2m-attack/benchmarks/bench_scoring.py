"""Losses of 64 suffixes behind one prompt and image: with what comes before remembered, and without."""

import sys

import torch
from models import SIZES, begin, make_record, random_model
from rows import measure, store

from auscult.o2m_attack.targets.cache import Prefix

WIDTH = 64


def main() -> None:
    quick = "--quick" in sys.argv
    for name in list(SIZES)[: 1 if quick else None]:
        target = random_model(name)
        objective, image = begin(target, make_record(), 20)
        allowed = (~target.prompts.forbidden()).nonzero().flatten()
        draws = torch.randint(len(allowed), (WIDTH, 20), generator=torch.Generator().manual_seed(0))
        candidates = allowed[draws]
        before = torch.tensor(objective.segments.before)
        between = torch.tensor(objective.segments.between)

        @torch.inference_mode()
        def uncached(target=target, objective=objective, image=image, before=before, between=between, rows=candidates):
            """Score whole prompts; the image goes through the vision tower once here too."""
            embed = target.language.embed
            front = torch.cat([embed(before), target.features(image), embed(between)])
            tail = objective._tail
            embeds = [front.expand(len(rows), -1, -1), embed(rows), tail.expand(len(rows), -1, -1)]
            return objective._score(torch.cat(embeds, dim=1), Prefix())

        def cached(objective=objective, rows=candidates):
            return objective.candidate_losses(rows)

        torch.testing.assert_close(cached(), uncached(), rtol=1e-4, atol=1e-4)
        rows = measure(
            f"losses of {WIDTH} suffixes of 20 tokens, {name}", {"whole prompts": uncached, "o2m-attack": cached},
            repeats=3 if quick else 9,
        )  # fmt: skip
        if not quick:
            store(rows)


if __name__ == "__main__":
    main()
