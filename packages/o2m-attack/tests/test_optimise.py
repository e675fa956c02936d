"""Properties 1 to 5, 9, 12, 15, 21 and 22 of the method."""

import dataclasses
import itertools
import math
import statistics
import string

import pytest
import torch

from auscult.core.device import derive_seed
from auscult.core.errors import AuscultError, InputError
from auscult.o2m_attack import GCG, MCM, PGD, AttackConfig
from auscult.o2m_attack.conditions import make_request
from auscult.o2m_attack.objective import Objective
from auscult.o2m_attack.optimise import mcm
from auscult.o2m_attack.optimise.gcg import sample_candidates, text_branch
from auscult.o2m_attack.optimise.pgd import ball, image_branch, signed_step, to_lattice
from auscult.o2m_attack.optimise.state import AttackState
from auscult.o2m_attack.targets.tiny import tiny_llava

SMALL = AttackConfig(steps=6, search_width=12, topk=24, suffix_length=6, epsilon=4 / 255, alpha=2 / 255, image_steps=2)
RULES = ("better", "better_or_stay", "joint", "alternate", "text", "image")


def with_(**changes):
    return dataclasses.replace(SMALL, **changes)


def trajectory(result):
    return [row[:-1] for row in result.history]


@pytest.mark.parametrize("accept", RULES)
def test_the_image_never_leaves_the_ball(target, record, accept):
    """Property 1: also after more steps than the ball has room for, and property 9."""
    config = with_(accept=accept)
    clean = target.preprocessor.clean(record.image)
    seen = []
    result = MCM(config).run(target, record, on_step=seen.append)
    forbidden = target.prompts.forbidden()
    for state in seen:
        assert float((state.image - clean).abs().max()) <= config.epsilon + 1e-6
        assert float(state.image.min()) >= 0
        assert float(state.image.max()) <= 1
        assert len(state.suffix_ids) == len(seen[0].suffix_ids)
        assert not forbidden[state.suffix_ids].any()
    assert len(result.history) == 6
    assert result.history[-1].linf_255 <= 4 + 1e-3
    if accept not in ("text", "image"):
        assert {row.accepted for row in result.history} - {"stay"}


def test_what_is_returned_is_what_eight_bits_hold(target, record):
    """Property 2, on the lattice."""
    config = with_(epsilon=4.6 / 255, alpha=1.3 / 255)
    result = MCM(config).run(target, record)
    scaled = result.image.double() * 255
    assert torch.allclose(scaled, scaled.round(), atol=1e-4)
    change = (scaled.round() - (result.clean_image.double() * 255).round()).abs().max()
    assert 0 < change <= math.floor(255 * config.epsilon + 1e-6)
    assert result.final_loss != pytest.approx(result.best_loss, abs=1e-6)
    loss = target.loss(result.image, result.suffix_ids, record)
    assert result.final_loss == pytest.approx(float(loss), abs=1e-4)


def test_every_accepted_suffix_is_read_as_its_ids(record):
    """Property 8, with a tokenizer that merges whatever two letters meet."""
    pairs = map("".join, itertools.product(string.ascii_lowercase, repeat=2))
    target, seen = tiny_llava(vocabulary=900, texts=pairs), []
    config = with_(accept="better", steps=8, search_width=64, topk=200, sampler="uniform")
    result = GCG(config).run(target, record, on_step=seen.append)
    request = make_request(record, "2m", target.templates)
    segments, _ = target.prompts.segments(request, "")
    for state in seen:
        text = target.prompts.suffix_text(segments, state.suffix_ids.tolist())
        assert target.prompts.segments(request, text)[1] == state.suffix_ids.tolist()
    assert target.prompts.segments(request, result.suffix)[1] == result.suffix_ids
    assert {row.accepted for row in result.history} == {"text"}


@pytest.mark.parametrize("epsilon", [0.0, 1 / 255, 3.4 / 255, 0.3, 1.0])
def test_the_lattice_within_the_ball(epsilon):
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(0, 256, (3, 20, 20), generator=generator).float() / 255
    image = (clean + epsilon * (2 * torch.rand(clean.shape, generator=generator) - 1)).clamp(0, 1)
    found = to_lattice(image, clean, epsilon)
    whole = found.double() * 255
    assert torch.allclose(whole, whole.round(), atol=1e-4)
    assert (whole.round() - (clean.double() * 255).round()).abs().max() <= math.floor(255 * epsilon + 1e-6)
    assert (found - image).abs().max() <= max(0.5, min(1.0, 255 * epsilon)) / 255 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("accept", RULES)
def test_losses_go_where_they_should(llava, record, accept):
    """Property 3, with steps so long and candidates so few that some iterations find nothing better."""
    coarse = {"search_width": 2, "sampler": "uniform", "topk": 300, "alpha": 60 / 255, "epsilon": 0.5, "steps": 12}
    result = MCM(with_(accept=accept, **coarse)).run(llava, record)
    best = [row.best_loss for row in result.history]
    assert best == sorted(best, reverse=True)
    assert best[-1] == result.best_loss
    assert result.best_loss <= result.initial_loss
    if accept in ("better_or_stay", "joint"):
        losses = [result.initial_loss, *(row.loss for row in result.history)]
        assert losses == sorted(losses, reverse=True)
        assert "stay" in {row.accepted for row in result.history}


def test_what_a_rule_accepts_is_the_least_of_what_it_compares(llava, record):
    """Property 4: from the same state with the same seed."""
    state = None

    def first(state_):
        nonlocal state
        state = state or state_

    MCM(with_(steps=1, accept="text")).run(llava, record, on_step=first)
    rows = {
        accept: MCM(with_(steps=2, accept=accept)).run(llava, record, state=state).history[-1]
        for accept in ("better", "better_or_stay", "joint")
    }
    text, image = rows["better"].text_loss, rows["better"].image_loss
    assert all((row.text_loss, row.image_loss) == (text, image) for row in rows.values())
    assert rows["better"].loss == min(text, image)
    assert rows["better_or_stay"].loss == min(text, image, state.loss)
    assert rows["joint"].loss <= min(text, image, state.loss)


def test_both_branches_start_from_one_point(llava, record):
    """Properties 10 and 14: an iteration scores text with the old image, and the image with the old suffix."""
    config, seen = with_(accept="joint"), []
    result = MCM(config).run(llava, record, on_step=seen.append)
    assert {"both"} < {row.accepted for row in result.history}
    suffix = llava.prompts.neutral_suffix(make_request(record, "2m"), config.suffix_length)
    objective = Objective(llava, record, "2m", suffix=suffix)
    image, ids = result.clean_image, objective.suffix_ids
    for state in seen:
        objective.set_image(image)
        stream = torch.Generator().manual_seed(derive_seed(config.seed, record.id, "2m", state.step))
        text_ids, text = text_branch(objective, llava.prompts, ids, config, stream)
        moved = image_branch(objective, image, ids, config, *ball(result.clean_image, config.epsilon))
        row = state.history[-1]
        assert row.text_loss == pytest.approx(text, abs=1e-5)
        assert row.image_loss == pytest.approx(float(objective.loss(moved, ids)), abs=1e-5)
        image = moved if row.accepted in ("image", "both") else image
        ids = text_ids if row.accepted in ("text", "both") else ids
        assert torch.equal(state.image, image)
        assert torch.equal(state.suffix_ids, ids)
        assert row.loss == pytest.approx(float(objective.loss(image, ids)), abs=1e-5)


def test_ties_go_to_text():
    run = object.__new__(mcm._Run)
    run._config = with_(accept="better")
    one = mcm._Candidate(torch.zeros(1), torch.zeros(1), 1.0, None)
    assert run._choose(one, one, one)[0] == "text"
    run._config = with_(accept="better_or_stay")
    assert run._choose(one, one, one)[0] == "stay"
    assert run._choose(one, None, None)[0] == "stay"


@pytest.mark.parametrize("accept", ["better", "better_or_stay", "joint", "alternate", "text"])
@pytest.mark.parametrize("off", [{"epsilon": 0.0}, {"image_steps": 0}])
def test_without_the_image_it_is_gcg(llava, record, accept, off):
    """Property 5."""
    both, text = (kind(with_(accept=accept, **off)).run(llava, record) for kind in (MCM, GCG))
    assert trajectory(both) == trajectory(text)
    assert both.suffix_ids == text.suffix_ids
    assert torch.equal(text.image, text.clean_image)


@pytest.mark.parametrize("accept", ["better", "better_or_stay", "joint", "alternate", "image"])
def test_without_candidates_it_is_pgd(llava, record, accept):
    config = with_(accept=accept, search_width=0, alpha=60 / 255, epsilon=0.5, steps=12)
    both, image = (kind(config).run(llava, record) for kind in (MCM, PGD))
    assert trajectory(both) == trajectory(image)
    losses = [row.loss for row in image.history]
    assert losses != sorted(losses, reverse=True), "a step that made it worse is taken too"
    assert torch.equal(both.image, image.image)
    assert (image.suffix, image.suffix_ids) == ("", [])


@pytest.mark.parametrize("kind", [MCM, GCG, PGD])
@pytest.mark.parametrize("stop", [1, 4])
def test_an_interrupted_optimisation_ends_with_equal_bits(llava, record, tmp_path, kind, stop):
    """Property 12, for one record."""
    whole = kind(SMALL).run(llava, record)

    class StopError(Exception):
        pass

    def save(state):
        state.save(tmp_path / "state.npz")
        if state.step == stop:
            raise StopError

    with pytest.raises(StopError):
        kind(SMALL).run(llava, record, on_step=save)
    resumed = kind(SMALL).run(llava, record, state=AttackState.load(tmp_path / "state.npz"))
    assert trajectory(resumed) == trajectory(whole)
    assert torch.equal(resumed.image, whole.image)
    assert (resumed.suffix_ids, resumed.final_loss) == (whole.suffix_ids, whole.final_loss)
    assert (tmp_path / "state.npz").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"no archive", b"", b"PK\x03\x04 cut off"])
def test_a_broken_state_is_named(tmp_path, content):
    (tmp_path / "state.npz").write_bytes(content)
    with pytest.raises(InputError, match="delete it to begin again"):
        AttackState.load(tmp_path / "state.npz")


def test_seeds_and_records_have_streams_of_their_own(llava, record, new_record):
    first, again = (MCM(SMALL).run(llava, record) for _ in range(2))
    assert trajectory(first) == trajectory(again)
    other = MCM(with_(seed=1)).run(llava, record)
    assert trajectory(first) != trajectory(other)
    assert trajectory(MCM(SMALL).run(llava, new_record(id="r7"))) != trajectory(first)


def sampled(length, width, sampler="reference", **changes):
    config = with_(search_width=width, topk=8, sampler=sampler, **changes)
    ids = torch.full((length,), 49)  # never drawn, so that what is touched differs
    gradient = torch.randn(length, 50, generator=torch.Generator().manual_seed(3))
    forbidden = torch.zeros(50, dtype=torch.bool)
    forbidden[40:] = True
    return ids, gradient, sample_candidates(ids, gradient, forbidden, config, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("length", "touched"),
    [(20, range(0, 20, 2)), (10, range(10)), (30, range(0, 30, 3)), (12, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10])],
)
def test_the_reference_sampler_leaves_positions_out(length, touched):
    """Property 15."""
    ids, _, candidates = sampled(length, 10)
    different = [(row != ids).nonzero().flatten().tolist() for row in candidates]
    assert different == [[position] for position in touched]


@pytest.mark.parametrize("sampler", ["uniform", "gradient", "reference"])
@pytest.mark.parametrize("replaced", [1, 3])
def test_candidates_take_the_best_allowed_tokens(sampler, replaced):
    ids, gradient, candidates = sampled(6, 400, sampler, n_replace=replaced)
    best = (-gradient[:, :40]).topk(8, dim=1).indices
    most = 1 if sampler == "reference" else replaced
    counts = (candidates != ids).sum(dim=1)
    assert int(counts.max()) == most
    for position in range(6):
        new = candidates[candidates[:, position] != ids[position], position]
        assert set(new.tolist()) <= set(best[position].tolist())
        assert len(set(new.tolist())) >= 6


def test_the_temperature_is_used():
    def share_of_best(temperature):
        _, gradient, candidates = sampled(1, 4000, "gradient", temperature=temperature)
        return float((candidates[:, 0] == (-gradient[0, :40]).argmax()).float().mean())

    assert share_of_best(0.05) > 0.95
    assert share_of_best(0.05) > share_of_best(1.0) > share_of_best(100.0) + 0.05
    assert share_of_best(100.0) == pytest.approx(1 / 8, abs=0.03)


def test_a_row_without_gradient_is_drawn_from_evenly():
    config = with_(search_width=50, topk=8, sampler="gradient")
    for gradient in (torch.zeros(3, 20), torch.full((3, 20), torch.nan)):
        found = sample_candidates(
            torch.zeros(3, dtype=torch.long), gradient, torch.zeros(20, dtype=torch.bool), config, torch.Generator()
        )
        assert found.shape == (50, 3)


def test_no_surviving_candidate_keeps_the_suffix(llava, record, monkeypatch):
    monkeypatch.setattr(type(llava.prompts), "survives", lambda self, segments, rows: [len(rows) == 1] * len(rows))
    result = GCG(with_(accept="better", search_width=40)).run(llava, record)
    assert {row.accepted for row in result.history} == {"stay"}
    assert all(row.text_loss is None for row in result.history)
    assert result.best_loss == result.initial_loss
    both = MCM(with_(accept="better", search_width=40)).run(llava, record)
    assert {row.accepted for row in both.history} == {"image"}


class Linear:
    """An objective whose loss is linear in the pixels."""

    def __init__(self, weight):
        self.weight = weight

    def pixel_gradient(self, image, suffix_ids):
        return (self.weight * image).sum(), self.weight


def test_pgd_reaches_the_optimum_of_a_linear_loss():
    """Property 22: ``clip(v0 - eps sign w)``."""
    generator = torch.Generator().manual_seed(0)
    clean, weight = torch.rand(3, 8, 8, generator=generator), torch.randn(3, 8, 8, generator=generator)
    config = with_(epsilon=8 / 255, alpha=1 / 255, image_steps=8)
    found = image_branch(Linear(weight), clean, torch.zeros(0), config, *ball(clean, config.epsilon))
    torch.testing.assert_close(found, (clean - config.epsilon * weight.sign()).clamp(0, 1), rtol=0, atol=1e-6)
    nan = image_branch(Linear(weight * torch.nan), clean, torch.zeros(0), config, *ball(clean, config.epsilon))
    assert torch.equal(nan, clean)


def test_a_signed_step_against_its_parts():
    generator = torch.Generator().manual_seed(0)
    clean, slope = torch.rand(3, 5, 5, generator=generator), torch.randn(3, 5, 5, generator=generator)
    low, high = ball(clean, 0.1)
    moved = clean - 0.3 * slope.sign()
    expected = torch.minimum(torch.maximum(moved, clean - 0.1), clean + 0.1).clamp(0, 1)
    torch.testing.assert_close(signed_step(clean, slope, 0.3, low, high), expected)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"target_loss": 1e9}, "target_loss"),
        ({"patience": 1, "accept": "better_or_stay", "epsilon": 0.0, "topk": 1, "search_width": 1}, "patience"),
        ({"max_forward_tokens": 1}, "forward_tokens"),
        ({"max_seconds": 0.0}, "seconds"),
        ({"judge_every": 2}, "judge"),
        ({"steps": 0}, "steps"),
    ],
)
def test_reasons_to_stop(llava, record, changes, why):
    result = MCM(with_(steps=changes.get("steps", 40), **{k: v for k, v in changes.items() if k != "steps"})).run(
        llava, record, judge=lambda reply: True
    )
    assert result.stopped == why
    assert len(result.history) < 40


def test_stops_once_the_target_would_be_said(llava, record, monkeypatch):
    monkeypatch.setattr(Objective, "is_exact", lambda self, ids: True)
    assert MCM(with_(stop_when_exact=True)).run(llava, record).stopped == "exact"


def test_a_judge_has_to_be_there(llava, record):
    with pytest.raises(InputError, match="there is no judge"):
        MCM(with_(judge_every=1)).run(llava, record)


def test_something_has_to_change(llava, record):
    for kind, changes in ((PGD, {"epsilon": 0.0}), (PGD, {"image_steps": 0}), (GCG, {"search_width": 0})):
        with pytest.raises(InputError, match="neither image nor suffix can change"):
            kind(with_(**changes)).run(llava, record)


def test_steps_of_the_image_alone_are_all_taken(llava, record):
    result = PGD(with_(steps=12, epsilon=2 / 255)).run(llava, record)
    assert {row.accepted for row in result.history} == {"image"}
    assert result.best_loss == min([result.initial_loss, *(row.loss for row in result.history)])


def test_a_model_that_overflows_is_named(llava, record, monkeypatch):
    score = Objective._score
    monkeypatch.setattr(Objective, "_score", lambda self, *rest: score(self, *rest) * torch.nan)
    with pytest.raises(AuscultError, match="overflows in torch"):
        MCM(SMALL).run(llava, record)


def test_twenty_iterations_beat_random_candidates(llava, new_record):
    """Property 21, first half: the margin over candidates drawn without a gradient."""
    gains, random_gains = [], []
    for seed in range(3):
        record = new_record(seed)
        config = AttackConfig(steps=20, search_width=16, topk=32, suffix_length=6, epsilon=8 / 255, seed=seed)
        result = MCM(config).run(llava, record)
        gains.append(result.initial_loss - result.best_loss)
        suffix = llava.prompts.neutral_suffix(make_request(record, "2m"), 6)
        objective = Objective(llava, record, "2m", suffix=suffix)
        objective.set_image(llava.preprocessor.clean(record.image))
        allowed = (~llava.prompts.forbidden()).nonzero().flatten()
        generator = torch.Generator().manual_seed(seed)
        ids, best = objective.suffix_ids, result.initial_loss
        for _ in range(20):
            rows = ids.repeat(16, 1)
            rows[torch.arange(16), torch.randint(6, (16,), generator=generator)] = allowed[
                torch.randint(len(allowed), (16,), generator=generator)
            ]
            losses = objective.candidate_losses(rows)
            if float(losses.min()) < best:
                best, ids = float(losses.min()), rows[losses.argmin()]
        random_gains.append(result.initial_loss - best)
    assert statistics.median(gains) > 1.2 * statistics.median(random_gains) > 0


def test_at_an_equal_budget_mcm_is_not_the_worst(llava, new_record):
    """Property 21, second half: median over 10 seeds, not worse than the worse of GCG and PGD."""
    losses = {kind: [] for kind in (MCM, GCG, PGD)}
    for seed in range(10):
        for kind in losses:
            config = AttackConfig(
                steps=100, search_width=8, topk=32, suffix_length=5, epsilon=4 / 255, seed=seed, patience=8,
                max_forward_tokens=1800,
            )  # fmt: skip
            losses[kind].append(kind(config).run(llava, new_record(seed, size=(28, 28))).best_loss)
    medians = {kind: statistics.median(values) for kind, values in losses.items()}
    assert medians[MCM] <= max(medians[GCG], medians[PGD])


def test_text_candidates_of_an_iteration_are_scored_with_the_old_image(llava, record):
    suffix = llava.prompts.neutral_suffix(make_request(record, "2m"), 6)
    objective = Objective(llava, record, "2m", suffix=suffix)
    image = llava.preprocessor.clean(record.image)
    objective.set_image(image)
    config = with_(topk=3)
    ids, loss = text_branch(objective, llava.prompts, objective.suffix_ids, config, torch.Generator().manual_seed(0))
    assert loss == pytest.approx(float(objective.loss(image, ids)), abs=1e-5)
    (position,) = (ids != objective.suffix_ids).nonzero().flatten().tolist()
    _, gradient = objective.token_gradient(objective.suffix_ids)
    steepest = (-gradient[position]).masked_fill(llava.prompts.forbidden(), -torch.inf).topk(3).indices
    assert ids[position] in steepest
