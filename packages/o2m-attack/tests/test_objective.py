"""Properties 6, 7, 10, 11, 13 and 14 of the method, and the property that no loss depends on what comes after."""

import pytest
import torch

from auscult.core.errors import AuscultError, InputError
from auscult.o2m_attack.conditions import CONDITIONS, make_request
from auscult.o2m_attack.objective import _NO_MEMORY, Objective
from auscult.o2m_attack.targets.cache import Prefix
from auscult.o2m_attack.targets.tiny import tiny_llava


def begin(target, record, length=8, condition="2m", **options):
    suffix = target.prompts.neutral_suffix(make_request(record, condition, target.templates), length)
    objective = Objective(target, record, condition, suffix=suffix, **options)
    image = target.preprocessor.clean(record.image).to(target.language.dtype)
    objective.set_image(image)
    return objective, image


def random_suffixes(target, count, length, seed=0):
    allowed = (~target.prompts.forbidden()).nonzero().flatten()
    generator = torch.Generator().manual_seed(seed)
    return allowed[torch.randint(len(allowed), (count, length), generator=generator)]


def joined_ids(objective, suffix_ids):
    segments = objective.segments
    image = [objective._target.prompts.image_token_id]
    behind = [*segments.between, *suffix_ids.tolist(), *segments.after, *segments.target]
    return [*segments.before, *image, *behind]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_path_gives_one_loss(target, record, condition):
    objective, image = begin(target, record, condition=condition)
    ids = objective.suffix_ids
    whole = objective.loss(image, ids)
    for loss in (
        objective.candidate_losses(ids[None])[0],
        objective.token_gradient(ids)[0],
        objective.pixel_gradient(image, ids)[0],
        target.loss(image, ids, record, condition),
    ):
        torch.testing.assert_close(loss, whole.detach(), rtol=1e-5, atol=1e-5, check_dtype=False)


def test_the_loss_is_that_of_transformers(target, record):
    """Property 13: labels of -100 everywhere but on the target, placeholders expanded as the processor does."""
    objective, image = begin(target, record)
    ids = joined_ids(objective, objective.suffix_ids)
    features = target.features(image)
    place = ids.index(target.prompts.image_token_id)
    ids = [*ids[:place], *[ids[place]] * len(features), *ids[place + 1 :]]
    wanted = len(objective.segments.target)
    labels = torch.tensor([[-100] * (len(ids) - wanted) + ids[-wanted:]])
    views = target.preprocessor.views(image)
    if views.shape[0] > 1:
        images = {"pixel_values": views[None], "image_sizes": torch.tensor([image.shape[-2:]])}
    else:
        images = {"pixel_values": views}
    theirs = target.model(input_ids=torch.tensor([ids]), labels=labels, **images).loss
    torch.testing.assert_close(objective.loss(image, objective.suffix_ids), theirs, rtol=1e-5, atol=1e-5)


def test_what_follows_the_target_does_not_matter(llava, record):
    objective, image = begin(llava, record)
    features = llava.features(image)
    ids = joined_ids(objective, objective.suffix_ids)
    place = ids.index(llava.prompts.image_token_id)
    embed = llava.language.embed
    longer = torch.tensor([*ids[place + 1 :], 7, 8, 9])
    embeds = torch.cat([embed(torch.tensor(ids[:place])), features, embed(longer)])
    hidden = llava.language.hidden(embeds[None], Prefix(), objective.ledger)
    stop = len(embeds) - 4
    wanted = torch.tensor(objective.segments.target)
    loss = llava.language.negative_log_likelihood(hidden[:, stop - len(wanted) : stop], wanted)[0]
    torch.testing.assert_close(loss, objective.loss(image, objective.suffix_ids), rtol=1e-5, atol=1e-5)


def test_cached_is_uncached_and_picks_the_same(target, record):
    """Property 10 in float32."""
    objective, image = begin(target, record)
    same = 0
    for seed in range(20):
        candidates = random_suffixes(target, 5, 8, seed)
        cached = objective.candidate_losses(candidates)
        whole = torch.stack([objective.loss(image, ids) for ids in candidates])
        torch.testing.assert_close(cached, whole, rtol=1e-5, atol=1e-5)
        same += int(cached.argmin() == whole.argmin())
    assert same >= 20 * 0.99


def test_cached_is_uncached_in_bfloat16(record):
    target = tiny_llava(vocabulary=400, dtype="bfloat16")
    objective, image = begin(target, record)
    candidates = random_suffixes(target, 6, 8)
    cached = objective.candidate_losses(candidates)
    whole = torch.stack([objective.loss(image, ids) for ids in candidates])
    torch.testing.assert_close(cached, whole, rtol=1e-2, atol=5e-2)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("window", [None, 24])
def test_cached_is_uncached_whatever_a_layer_sees(llava, record, attention, window):
    import transformers

    text = llava.model.config.get_text_config()
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    language = transformers.MistralConfig(
        **{name: getattr(text, name) for name in names}, num_key_value_heads=1, sliding_window=window
    )
    config = transformers.LlavaConfig(
        vision_config=llava.model.config.vision_config, text_config=language, vision_feature_layer=-1,
        image_token_index=llava.model.config.image_token_id, attn_implementation=attention,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlavaForConditionalGeneration(config)
    target = type(llava)(model, llava.tokenizer, llava.image_processor, name="mistral")
    objective, image = begin(target, record)
    candidates = random_suffixes(target, 5, 8)
    whole = torch.stack([objective.loss(image, ids) for ids in candidates])
    torch.testing.assert_close(objective.candidate_losses(candidates), whole, rtol=1e-5, atol=1e-5)


def test_a_new_image_makes_the_old_cache_stale(target, record):
    objective, image = begin(target, record)
    ids = objective.suffix_ids
    other = (image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    before = objective.candidate_losses(ids[None])[0]
    objective.use(objective.prefix_of(other))
    after = objective.candidate_losses(ids[None])[0]
    assert abs(float(after - before)) > 1e-4
    torch.testing.assert_close(after, objective.loss(other, ids), rtol=1e-5, atol=1e-5)


def test_no_forward_pass_changes_the_cache(llava, record):
    objective, _ = begin(llava, record)
    candidates = random_suffixes(llava, 5, 8)
    before = [[tensor.clone() for tensor in pair] for pair in objective._current.layers]
    first = objective.candidate_losses(candidates)
    objective.token_gradient(candidates[0])
    assert torch.equal(objective.candidate_losses(candidates), first)
    for pair, old in zip(objective._current.layers, before, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(pair, old, strict=True))


@pytest.mark.parametrize("batch", [1, 7, 23])
def test_the_batch_does_not_matter(llava, record, batch):
    """Property 11, with its permutation."""
    candidates = random_suffixes(llava, 23, 8)
    whole, _ = begin(llava, record)
    parts, _ = begin(llava, record, batch=batch)
    expected = whole.candidate_losses(candidates)
    torch.testing.assert_close(parts.candidate_losses(candidates), expected, rtol=1e-5, atol=1e-5)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(whole.candidate_losses(candidates[order]), expected[order], rtol=1e-5, atol=1e-5)
    assert parts.candidate_losses(candidates[:0]).shape == (0,)


def test_a_cpu_without_memory_says_so_as_it_is_expected_to():
    with pytest.raises(RuntimeError, match=_NO_MEMORY):
        torch.empty(1 << 60, dtype=torch.uint8)


NO_MEMORY = (
    torch.OutOfMemoryError(),
    RuntimeError(f"DefaultCPUAllocator: {_NO_MEMORY}: you tried to allocate 9 bytes"),
)


@pytest.mark.parametrize("failure", NO_MEMORY, ids=["device", "cpu"])
def test_running_out_of_memory_halves_the_batch(llava, record, monkeypatch, failure):
    objective, _ = begin(llava, record)
    candidates = random_suffixes(llava, 23, 8)
    expected = objective.candidate_losses(candidates)
    score, sizes = objective._candidate_losses, []

    def small(rows, prefix):
        sizes.append(len(rows))
        if len(rows) > 5:
            raise failure
        return score(rows, prefix)

    monkeypatch.setattr(objective, "_candidate_losses", small)
    torch.testing.assert_close(objective.candidate_losses(candidates), expected, rtol=1e-5, atol=1e-5)
    assert sizes[:4] == [23, 12, 6, 3]
    sizes.clear()
    objective.candidate_losses(candidates)
    assert max(sizes) == 3

    def never(rows, prefix):
        raise failure

    monkeypatch.setattr(objective, "_candidate_losses", never)
    with pytest.raises(AuscultError, match="single candidate"):
        objective.candidate_losses(candidates)

    def broken(rows, prefix):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(objective, "_candidate_losses", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        objective.candidate_losses(candidates)


def test_pixel_gradient_by_central_differences(target64, record):
    """Property 6, in float64."""
    target = target64
    objective, image = begin(target, record)
    ids = objective.suffix_ids
    _, slope = objective.pixel_gradient(image, ids)
    generator = torch.Generator().manual_seed(0)
    # Away from 0 and 1, where the coarse view's clamp has a corner.
    direction = torch.randn(image.shape, generator=generator, dtype=torch.float64)
    direction = direction * ((image > 0.01) & (image < 0.99))
    step = 1e-5
    up, down = objective.loss(image + step * direction, ids), objective.loss(image - step * direction, ids)
    expected = float((up - down) / (2 * step))
    assert float((slope * direction).sum()) == pytest.approx(expected, rel=1e-4)


def test_token_gradient_by_central_differences(target64, record):
    objective, _ = begin(target64, record, length=3)
    ids = objective.suffix_ids
    _, slope = objective.token_gradient(ids)
    matrix = target64.language.embedding.weight
    one_hot = torch.nn.functional.one_hot(ids, len(matrix)).double()
    tail = objective._tail

    def loss(rows):
        return objective._score(torch.cat([rows @ matrix, tail])[None], objective._current)[0]

    for position, token in ((0, 10), (1, 300), (2, int(ids[2]))):
        change = torch.zeros_like(one_hot)
        change[position, token] = 1e-5
        expected = float((loss(one_hot + change) - loss(one_hot - change)) / 2e-5)
        assert float(slope[position, token]) == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_a_tiny_step_changes_the_loss_by_its_length_times_the_gradient(target64, record):
    """Property 7: ``L(v - a sign g) - L(v)`` is close to ``-a |g|_1``."""
    objective, image = begin(target64, record)
    loss, slope = objective.pixel_gradient(image, objective.suffix_ids)
    alpha = 1e-6
    change = objective.loss(image - alpha * slope.sign(), objective.suffix_ids) - loss
    assert float(change / (-alpha * slope.abs().sum())) == pytest.approx(1, rel=0.05)


def test_candidates_cost_no_look_at_the_image(target, record, monkeypatch):
    """Property 14: the vision tower runs K times in the image branch and never in the text branch."""
    from auscult.o2m_attack import AttackConfig
    from auscult.o2m_attack.optimise.gcg import text_branch
    from auscult.o2m_attack.optimise.pgd import ball, image_branch

    objective, image = begin(target, record)
    config = AttackConfig(search_width=8, topk=16, image_steps=3)
    calls = []
    features = type(target).features
    monkeypatch.setattr(type(target), "features", lambda self, *rest: calls.append(1) or features(self, *rest))
    text_branch(objective, target.prompts, objective.suffix_ids, config, torch.Generator().manual_seed(0))
    assert not calls
    image_branch(objective, image, objective.suffix_ids, config, *ball(image, config.epsilon))
    assert len(calls) == 3


def test_the_ledger_counts_positions_and_views(target, record):
    objective, image = begin(target, record)
    segments = objective.segments
    views = len(target.preprocessor.views(image))
    seen = len(target.features(image))
    prefix = len(segments.before) + seen + len(segments.between)
    assert (objective.ledger.forward_tokens, objective.ledger.vision_passes) == (prefix, views)
    objective.candidate_losses(random_suffixes(target, 5, 8))
    behind = 8 + len(segments.after) + len(segments.target) - 1
    assert objective.ledger.forward_tokens == prefix + 5 * behind
    objective.pixel_gradient(image, objective.suffix_ids)
    again = seen + len(segments.between) + behind
    assert objective.ledger.forward_tokens == prefix + 5 * behind + again
    assert objective.ledger.vision_passes == 2 * views


def test_exactness_is_the_greedy_continuation(llava, record):
    objective, image = begin(llava, record)
    assert not objective.is_exact(objective.suffix_ids)
    ids = joined_ids(objective, objective.suffix_ids)
    place = ids.index(llava.prompts.image_token_id)
    wanted = len(objective.segments.target)
    said = []
    for _ in range(wanted):
        behind = torch.tensor([*ids[place + 1 : len(ids) - wanted], *said])
        embed = llava.language.embed
        embeds = torch.cat([embed(torch.tensor(ids[:place])), llava.features(image), embed(behind)])
        hidden = llava.language.hidden(embeds[None], Prefix(), objective.ledger)[0, -1]
        said.append(int(llava.language.head(hidden).argmax()))
    objective._wanted = torch.tensor(said)
    assert objective.is_exact(objective.suffix_ids)


def test_a_model_without_gradients_by_pixels_is_named(llava, record, monkeypatch):
    objective, image = begin(llava, record)
    features = type(llava).features
    monkeypatch.setattr(type(llava), "features", lambda self, *rest: features(self, *rest).detach())
    with pytest.raises(InputError, match="gives no gradient by the pixels"):
        objective.pixel_gradient(image, objective.suffix_ids)


def test_a_target_longer_than_the_context_is_refused(new_record):
    target = tiny_llava(vocabulary=400, context=64)
    record = new_record(key_phrases="name the label " * 20)
    with pytest.raises(InputError, match=r"has 64: shorten the target"):
        begin(target, record)
