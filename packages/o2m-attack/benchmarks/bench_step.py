"""One iteration of MCM: ours against the released code's way, on the same model, candidates and image steps."""

import sys

import torch
from models import REFERENCE, SIZES, begin, make_record, random_model
from reference_step import ReferenceStep, candidates_of
from rows import measure, store

from auscult.o2m_attack.optimise.pgd import ball, image_branch


def main() -> None:
    quick = "--quick" in sys.argv
    for name in list(SIZES)[: 1 if quick else None]:
        target, record = random_model(name), make_record()
        objective, image = begin(target, record, REFERENCE.suffix_length)
        theirs = ReferenceStep(target, objective, image, REFERENCE)
        low, high = ball(image, REFERENCE.epsilon)

        def ours(target=target, objective=objective, image=image, low=low, high=high):
            _, gradient = objective.token_gradient(objective.suffix_ids)
            candidates = candidates_of(objective, target, gradient, REFERENCE, 0)
            losses = objective.candidate_losses(candidates)
            moved = image_branch(objective, image, objective.suffix_ids, REFERENCE, low, high)
            prefix = objective.prefix_of(moved)
            return losses, moved, objective.candidate_losses(objective.suffix_ids[None], prefix)[0]

        for one, other in zip(ours(), theirs.run(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
        rows = measure(
            f"one iteration of MCM, 10 candidates, 5 image steps, {name}",
            {"the released code's way": theirs.run, "o2m-attack": ours},
            repeats=3 if quick else 9,
        )
        if not quick:
            store(rows)


if __name__ == "__main__":
    main()
