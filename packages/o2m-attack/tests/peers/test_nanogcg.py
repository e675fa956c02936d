"""Gradient by token and loss of candidates against nanoGCG, behind the same embeddings of prompt and image."""

import pytest
import torch

from auscult.o2m_attack.conditions import make_request
from auscult.o2m_attack.objective import Objective
from auscult.o2m_attack.optimise.gcg import sample_candidates

nanogcg = pytest.importorskip("nanogcg.gcg", reason="nanoGCG is not installed")


@pytest.fixture
def both(target, record):
    """Return our objective, and nanoGCG's with its segments set to ours; it has no image, so it gets the features."""
    suffix = target.prompts.neutral_suffix(make_request(record, "2m"), 8)
    ours = Objective(target, record, "2m", suffix=suffix)
    image = target.preprocessor.clean(record.image)
    ours.set_image(image)
    theirs = object.__new__(nanogcg.GCG)
    theirs.model, theirs.tokenizer, theirs.prefix_cache = target.model, target.tokenizer, None
    theirs.embedding_layer = target.model.get_input_embeddings()
    theirs.config, theirs.stop_flag = nanogcg.GCGConfig(), False
    embed = target.language.embed
    segments = ours.segments
    parts = [embed(torch.tensor(segments.before)), target.features(image), embed(torch.tensor(segments.between))]
    theirs.before_embeds = torch.cat(parts)[None]
    theirs.after_embeds = embed(torch.tensor(segments.after))[None]
    theirs.target_ids = torch.tensor(segments.target)[None]
    theirs.target_embeds = embed(theirs.target_ids)
    return ours, theirs


def test_gradient_by_token(both):
    ours, theirs = both
    _, gradient = ours.token_gradient(ours.suffix_ids)
    expected = theirs.compute_token_gradient(ours.suffix_ids[None])[0]
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_loss_of_candidates(both):
    ours, theirs = both
    allowed = (~ours._target.prompts.forbidden()).nonzero().flatten()
    candidates = allowed[torch.randint(len(allowed), (30, 8), generator=torch.Generator().manual_seed(0))]
    embeds = torch.cat(
        [
            theirs.before_embeds.repeat(30, 1, 1),
            theirs.embedding_layer(candidates),
            theirs.after_embeds.repeat(30, 1, 1),
            theirs.target_embeds.repeat(30, 1, 1),
        ],
        dim=1,
    )
    expected = theirs._compute_candidates_loss_original(7, embeds)
    torch.testing.assert_close(ours.candidate_losses(candidates), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("replaced", [1, 3])
def test_the_uniform_sampler_draws_from_the_same_tokens(both, replaced):
    from auscult.o2m_attack import AttackConfig

    ours, _ = both
    ids = ours.suffix_ids
    _, gradient = ours.token_gradient(ids)
    forbidden = ours._target.prompts.forbidden()
    config = AttackConfig(search_width=3000, topk=6, n_replace=replaced, sampler="uniform")
    generator = torch.Generator().manual_seed(0)
    mine = sample_candidates(ids, gradient, forbidden, config, generator)
    not_allowed = forbidden.nonzero().flatten()
    torch.manual_seed(0)
    other = nanogcg.sample_ids_from_grad(ids, gradient.clone(), 3000, 6, replaced, not_allowed)
    for position in range(len(ids)):
        drawn = [set(rows[rows[:, position] != ids[position], position].tolist()) for rows in (mine, other)]
        assert drawn[0] == drawn[1]
        shares = [float((rows[:, position] != ids[position]).float().mean()) for rows in (mine, other)]
        assert shares[0] == pytest.approx(shares[1], abs=0.05)
