"""What must hold for the model whatever its weights are; numbers are those of the specification's section 12."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from auscult.core.errors import ConfigError, InputError
from auscult.core.kernels.channel_gru import channel_gru
from auscult.core.testing.kernels import check_gradients
from auscult.sparse_ehr.nn import Prism, PrismConfig, encoder
from auscult.sparse_ehr.nn.attention import CalibratedAttention
from auscult.sparse_ehr.nn.confidence import FeatureConfidence
from auscult.sparse_ehr.nn.prototypes import PrototypeGraph
from auscult.sparse_ehr.nn.similarity import patient_similarity

SMALL = PrismConfig((2, 1, 1), 2, channel=3, hidden=4, n_prototypes=3, dropout=0.0, state_dropout=0.0)
RELEASED = PrismConfig.released((2, 1, 1), 2, channel=3, hidden=4, n_prototypes=3)
RATE = torch.tensor([0.9, 0.5, 0.1])


def make_batch(count=6, steps=5, seed=0, dtype=torch.float32):
    """Return values, static, hours; the second variable starts late, the third is often never observed."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, steps, 4, generator=generator)
    static = torch.randn(count, 2, generator=generator)
    hours = torch.randint(0, 47, (count, steps, 3), generator=generator).float()
    hours[:, : steps // 2, 1] = torch.inf
    hours[::2, :, 2] = torch.inf
    return values.to(dtype), static.to(dtype), hours.to(dtype)


def make_model(config=SMALL, seed=0, dtype=torch.float32, rate=RATE):
    torch.manual_seed(seed)
    return Prism(config, rate).to(dtype)


def make_confidence(config, attention, hours, never=False, rate=0.5):
    """Return one cell's confidence with initial parameters, at attention of a whole of 48 x 19 cells."""
    shape = (1, 1, config.n_features)
    learner = FeatureConfidence(config).double()
    return learner(
        torch.full(shape, attention, dtype=torch.float64),
        torch.full(shape, hours / 24, dtype=torch.float64),
        torch.full(shape, never),
        torch.full((config.n_features,), rate, dtype=torch.float64),
        torch.full((1, 1, 1), 48 * 19, dtype=torch.float64),
    )[0, 0, 0].item()


def test_confidence_falls_with_time_and_rises_with_the_rate():
    """4: the signs of the derivatives, and the value right after a measurement."""
    for share in (0.2, 1.0, 3.0):
        cells = share / (48 * 19)
        found = [make_confidence(SMALL, cells, hours) for hours in (0, 1, 6, 24, 47)]
        assert found == sorted(found, reverse=True)
        assert len(set(found)) == 5
        assert found[0] == pytest.approx(np.tanh(share / 0.8), rel=1e-6)
    never = [make_confidence(SMALL, 0.001, 0, never=True, rate=rate) for rate in (0.0, 0.5, 1.0)]
    assert never == pytest.approx([0.0, 0.15, 0.3])


def test_at_uniform_attention_what_was_measured_is_trusted_more_and_as_released_less():
    """5, and the numbers of section 6: repair 1 orders confidence as the method means it."""
    even = 1 / (48 * 19)
    found = [make_confidence(SMALL, even, hours) for hours in (0, 12, 24, 47)]
    assert found == pytest.approx([0.848, 0.789, 0.741, 0.670], abs=6e-4)
    assert min(found) > make_confidence(SMALL, even, 0, never=True, rate=1.0)
    released = [make_confidence(RELEASED, even, hours) for hours in (0, 47)]
    assert released == pytest.approx([0.0014, 0.0009], abs=6e-5)
    assert max(released) < make_confidence(RELEASED, even, 0, never=True, rate=0.005)


def test_an_infinite_time_leaves_no_trace_in_gradients():
    """11: where a variable was never observed the time is masked before the logarithm."""
    learner = FeatureConfidence(SMALL)
    attention = torch.full((1, 1, 5), 0.2, requires_grad=True)
    never = torch.tensor([[[True, False, True, False, True]]])
    learner(attention, torch.where(never, torch.inf, 1.0), never, torch.ones(5), torch.ones(1, 1, 1)).sum().backward()
    assert attention.grad.isfinite().all()
    assert learner.gamma.raw.grad.isfinite().all()


@pytest.mark.parametrize("config", [SMALL, RELEASED])
def test_every_variant_starts_from_the_released_numbers(config):
    """The initial values of sections 4 and 5, and the released sizes."""
    model = make_model(config)
    start = [model.attention.mu(), model.prototypes.zeta(), model.eta(), model.attention.confidence.beta]
    assert [value.item() for value in start] == pytest.approx([0.05, 0.05, 0.05, 0.3])
    torch.testing.assert_close(model.attention.confidence.gamma(), torch.full((5,), 0.8))
    sizes = PrismConfig.released((1,))
    assert (sizes.channel, sizes.hidden, sizes.n_prototypes, sizes.dropout) == (8, 32, 10, 0.0)


def test_reliability_alone_does_not_depend_on_attention():
    config = replace(SMALL, confidence_from="missingness")
    now = [make_confidence(config, cells, 0) for cells in (1e-6, 1e-3)]
    assert now[0] == now[1] == pytest.approx(np.tanh(1 / 0.8))


@pytest.mark.parametrize(
    ("change", "expected"), [({"confidence": False}, 1.0), ({"use_rate": False}, 0.0), ({"use_time": False}, None)]
)
def test_ablations_of_confidence(change, expected):
    config = replace(SMALL, **change)
    if expected is None:
        assert make_confidence(config, 0.001, 0) == make_confidence(config, 0.001, 40)
    else:
        assert make_confidence(config, 0.001, 0, never=True) == expected


class NoConfidence(torch.nn.Module):
    def forward(self, attention, *_):
        return torch.zeros_like(attention)


@pytest.mark.parametrize("config", [replace(RELEASED), replace(SMALL, constrain=False)])
@pytest.mark.parametrize("apply", ["received", "paid"])
def test_without_any_confidence_and_no_attention_states_stay(config, apply):
    """6: c = 0 and mu = 1."""
    attention = CalibratedAttention(replace(config, attention_apply=apply))
    attention.confidence = NoConfidence()
    with torch.no_grad():
        attention.mu.raw.fill_(1.0)
    states = torch.randn(2, 4, 5, 3)
    never = torch.zeros(2, 4, 5, dtype=torch.bool)
    found, _, _ = attention(states, torch.zeros(2, 4, 5), never, torch.ones(5), torch.ones(2, 4, dtype=torch.bool))
    assert torch.equal(found, states)


def test_without_calibrated_attention_and_prototypes_times_and_rates_do_not_matter():
    """6: mu = 0 leaves tau and rho to the similarity alone."""
    values, static, hours = make_batch()
    config = replace(SMALL, calibrated_attention=False, prototypes=False)
    model, other = make_model(config).eval(), make_model(config, rate=torch.zeros(3)).eval()
    assert torch.equal(model(values, static, hours).logits, other(values, static, hours + 5).logits)
    mixed = make_model().eval()
    assert not torch.equal(mixed(values, static, hours).logits, mixed(values, static, hours + 5).logits)


@pytest.mark.parametrize("used", [True, False])
def test_without_prototypes_they_do_not_enter_the_prediction(used):
    values, static, hours = make_batch()
    model, other = (make_model(replace(SMALL, prototypes=used)).eval() for _ in range(2))
    with torch.no_grad():
        other.prototypes.weight.mul_(-3)
    assert torch.equal(model(values, static, hours).logits, other(values, static, hours).logits) is not used


def test_with_hard_masking_a_fill_value_has_no_influence():
    """7: a variable that was never observed."""
    values, static, hours = make_batch()
    changed = values.clone()
    changed[::2, :, 3] += 100.0
    changed[:, :2, 2] -= 7.0
    hard, soft = make_model(replace(SMALL, hard_mask=True)).eval(), make_model().eval()
    assert torch.equal(hard(values, static, hours).logits, hard(changed, static, hours).logits)
    assert not torch.equal(soft(values, static, hours).logits, soft(changed, static, hours).logits)


def test_the_less_a_fill_value_is_trusted_the_less_it_weighs():
    """7: without hard masking, at even attention, where it is paid; received, values are summed before they weigh."""
    module = CalibratedAttention(replace(SMALL, attention_apply="paid")).double()
    states = torch.randn(1, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    never = torch.zeros(1, 4, 5, dtype=torch.bool)
    never[:, :3, 4] = True
    weights = []
    for beta in (0.3, 0.1, 0.03, 0.0):
        with torch.no_grad():
            module.query.weight.zero_()
            module.query.bias.zero_()
            module.value.weight.copy_(torch.eye(3))
            module.confidence.beta.fill_(beta)
        out, _, _ = module(states, torch.zeros(1, 4, 5), never, torch.ones(5), torch.ones(1, 4, dtype=torch.bool))
        (slope,) = torch.autograd.grad(out[0, -1, 0, 0], states)
        weights.append(slope[0, 0, 4, 0].item())
    assert weights == sorted(weights, reverse=True)
    assert len(set(weights)) == 4
    assert weights[-1] == pytest.approx((1 - module.mu().item()) / 20)


def test_negative_confidence_weighs_nothing_in_the_attention():
    module, states = CalibratedAttention(SMALL), torch.randn(2, 4, 5, 3)
    never = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    found = []
    for beta in (0.0, -0.5):
        module.confidence.beta.data.fill_(beta)
        found.append(module(states, torch.zeros(2, 4, 5), never, torch.ones(5), torch.ones(2, 4, dtype=torch.bool))[0])
    assert torch.equal(*found)


@pytest.mark.parametrize("config", [SMALL, RELEASED])
def test_permuting_patients_permutes_predictions(config):
    """8, all variants."""
    values, static, hours = make_batch(dtype=torch.float64)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    one, other = make_model(config, dtype=torch.float64), make_model(config, dtype=torch.float64)
    found = other(values[order], static[order], hours[order])
    for part, expected in zip(found, one(values, static, hours), strict=True):
        torch.testing.assert_close(part, expected[order], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, prototype_update="fixed"),
        replace(SMALL, prototype_update="batch"),
        replace(RELEASED, graph_normalization="row"),
        RELEASED,
    ],
    ids=["ema", "fixed", "batch", "released, rows", "released"],
)
@pytest.mark.parametrize("trained", [False, True])
def test_a_patient_s_prediction_is_its_own(config, trained):
    """8: alone or in a batch; as released it is not."""
    values, static, hours = make_batch()
    model = make_model(config, seed=1)
    with torch.no_grad():
        # So that the sigmoid of the graph is not saturated, and what comes from it counts.
        model.prototypes.weight.mul_(0.02 if config.graph_normalization == "none" else 5)
        model.eta.raw.fill_(3.0 if config.constrain else 0.9)
    if trained:
        model.train()(values, static, hours)
    model.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    together = model(values, static, hours).logits
    model.load_state_dict(state)
    alone = model(values[2:3], static[2:3], hours[2:3]).logits
    difference = (alone - together[2]).abs().max()
    assert difference > 1e-4 if config.prototype_update == "batch" else difference < 1e-6


def test_padding_of_a_stay_does_not_matter():
    values, static, hours = make_batch()
    model = make_model().eval()
    padded = [torch.nn.functional.pad(part, (0, 0, 0, 3), value=torch.nan) for part in (values, hours)]
    length = torch.full((6,), 5)
    found = model(padded[0], static, padded[1], length=length)
    expected = model(values, static, hours)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.confidence[:, :5], expected.confidence, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("length", "masked"), [(None, False), ([5] * 6, False), ([5, 5, 2, 5, 5, 5], True)])
def test_where_no_stay_ends_early_encoders_have_no_mask(monkeypatch, length, masked):
    """So that the encoder's form for large shapes, which takes none, is used."""
    given = []
    monkeypatch.setattr(encoder, "channel_gru", lambda *a, **k: given.append(k["length"]) or channel_gru(*a, **k))
    make_model()(*make_batch(), length=None if length is None else torch.tensor(length))
    assert [one is not None for one in given] == [masked] * 3


def test_permuting_variables_permutes_confidence_and_leaves_the_prediction():
    """9: with all parameters of the variables."""
    config = PrismConfig((1, 1, 1), 0, channel=3, hidden=4, n_prototypes=3, dropout=0.0, state_dropout=0.0)
    values, _, hours = make_batch(dtype=torch.float64)
    values, static = values[..., :3], values.new_zeros(6, 0)
    order = torch.tensor([2, 0, 1])
    model, other = (make_model(config, dtype=torch.float64).eval() for _ in range(2))
    by_feature = {
        name: value[order]
        for name, value in model.state_dict().items()
        if name.startswith("dynamic.") or name in ("rate", "attention.confidence.gamma.raw", "prototypes.weight")
        or name.startswith("prototypes.out.") or name in ("fuse.bias",)
    }  # fmt: skip
    for name in ("prototypes.centres", "prototypes.confidence", "prototypes.embedding", "embed.weight"):
        by_feature[name] = model.state_dict()[name][:, order]
    fuse = model.fuse.weight.view(3, 3, 3)[order][:, order].reshape(3, 9)
    other.load_state_dict({**model.state_dict(), **by_feature, "fuse.weight": fuse})
    expected = model(values, static, hours)
    found = other(values[..., order], static, hours[..., order])
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.confidence, expected.confidence[..., order])
    torch.testing.assert_close(found.attention, expected.attention[..., order])
    torch.testing.assert_close(found.summary, expected.summary[..., order])
    torch.testing.assert_close(found.similarity, expected.similarity)


def test_predictions_repeat_and_survive_saving():
    """10: bit for bit, prototypes included."""
    values, static, hours = make_batch()
    model = make_model(seed=2)
    model.train()(values, static, hours)
    model.eval()
    first, second = model(values, static, hours), model(values, static, hours)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    loaded = make_model(seed=3).eval()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for one, two, three in zip(first, second, loaded(values, static, hours), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def edge_cases():
    values, static, hours = make_batch()
    yield "nothing observed", SMALL, (values, static, torch.full_like(hours, torch.inf)), None
    yield "one step", SMALL, (values[:, :1], static, hours[:, :1]), None
    yield "no step", SMALL, (values * torch.nan, static, hours * torch.nan), torch.zeros(6, dtype=torch.int64)
    alone = PrismConfig((2, 1, 1), 0, channel=3, hidden=4, n_prototypes=3, dropout=0.0, state_dropout=0.0)
    yield "nothing at all", alone, (values, static[:, :0], torch.full_like(hours, torch.inf)), None
    yield "constant", SMALL, (torch.zeros_like(values), torch.zeros_like(static), hours), None
    yield "one patient", SMALL, (values[:1], static[:1], hours[:1]), None
    yield "more prototypes than patients", replace(SMALL, n_prototypes=20), (values, static, hours), None
    yield "one prototype", replace(SMALL, n_prototypes=1), (values, static, hours), None
    yield "hard masks", replace(SMALL, hard_mask=True), (values, static, torch.full_like(hours, torch.inf)), None
    yield "symmetric", replace(SMALL, graph_normalization="symmetric"), (values, static, hours), None
    yield "released", RELEASED, (values, static, hours), None
    yield "paid", replace(SMALL, attention_apply="paid"), (values, static, hours), None
    yield "cosine", replace(SMALL, similarity="cosine"), (values, static, hours), None


EDGES = list(edge_cases())


@pytest.mark.parametrize(("name", "config", "inputs", "length"), EDGES, ids=[edge[0] for edge in EDGES])
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_edges_are_finite(name, config, inputs, length, rate):
    """11: loss and gradients, in training and in evaluation."""
    model = make_model(config, rate=torch.full((3,), rate))
    for mode in (model.train, model.eval):
        mode()
        model.zero_grad()
        output = model(*inputs, length=length)
        target = torch.arange(len(output.logits)) % 2
        torch.nn.functional.binary_cross_entropy_with_logits(output.logits, target.float()).backward()
        assert all(part.isfinite().all() for part in output), name
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None), name


@pytest.mark.parametrize("config", [SMALL, RELEASED])
def test_every_parameter_learns(config):
    """12: gamma, beta, mu, zeta and eta among them."""
    values, static, hours = make_batch()
    model = make_model(config)
    target = torch.tensor([0.0, 1, 0, 1, 1, 0])
    torch.nn.functional.binary_cross_entropy_with_logits(model(values, static, hours).logits, target).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_the_graph_does_not_reach_the_encoder():
    """12: encoder gradients through the fusion alone are all there are."""
    summary = torch.randn(4, 5, requires_grad=True)
    confidence = torch.rand(4, 5, requires_grad=True)
    found = PrototypeGraph(SMALL)(summary, confidence)
    found.embedding.sum().backward()
    assert summary.grad is None
    assert confidence.grad is None


def test_gradients_by_differences():
    """12: confidence, similarity and the whole fusion in float64."""
    learner = FeatureConfidence(SMALL).double()
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(2, 3, 5, generator=generator) / 15
    tau = torch.rand(2, 3, 5, generator=generator)
    never = torch.rand(2, 3, 5, generator=generator) < 0.3
    tau[never] = 1.0
    cells = torch.full((2, 1, 1), 15.0, dtype=torch.float64)
    rate = torch.rand(5, generator=generator)
    check_gradients(lambda a, t, r: learner(a, t, never, r, cells), attention, tau, rate)
    model = make_model(dtype=torch.float64).eval()
    values, static, hours = make_batch(count=2, steps=3)
    check_gradients(lambda v, s: model(v, s, hours.double()).logits, values, static)


@pytest.mark.parametrize("kind", ["confident", "euclidean", "cosine"])
def test_every_similarity_prefers_the_nearer(kind):
    y = torch.tensor([[1.0, 0.0], [-1.0, 0.5]])
    sure = torch.ones(2, 2)
    found = patient_similarity(kind, y, sure, y, sure, torch.tensor(0.05))
    assert found.argmax(1).tolist() == [0, 1]
    assert (found >= 0).all()


@pytest.mark.parametrize("kind", ["confident", "euclidean", "cosine"])
def test_similarity_is_in_float32_under_autocast(kind):
    x, c = torch.randn(4, 5), torch.rand(4, 5)
    expected = patient_similarity(kind, x, c, x[:3], c[:3], torch.tensor(0.05))
    with torch.autocast("cpu", torch.bfloat16):
        found = patient_similarity(kind, x, c, x[:3], c[:3], torch.tensor(0.05))
    assert torch.equal(found, expected)
    assert patient_similarity(kind, x.bfloat16(), c, x[:3].bfloat16(), c[:3], torch.tensor(0.05)).dtype == torch.float32


@pytest.mark.parametrize("apply", ["received", "paid"])
def test_attention_is_in_float32_under_autocast(apply):
    """But for the maps of queries, keys and values, which are left out here."""
    module, states = CalibratedAttention(replace(SMALL, attention_apply=apply)), torch.randn(2, 4, 5, 3)
    module.query = module.key = module.value = torch.nn.Identity()
    never, valid = torch.zeros(2, 4, 5, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool)
    expected = module(states, torch.zeros(2, 4, 5), never, torch.ones(5), valid)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(states, torch.zeros(2, 4, 5), never, torch.ones(5), valid)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_prototypes_move_in_training_towards_their_members():
    graph = PrototypeGraph(replace(SMALL, n_prototypes=2)).train()
    centres = torch.tensor([[0.0] * 5, [10.0] * 5])
    graph.initialize(centres)
    x, c = torch.tensor([[1.0] * 5, [2.0] * 5]), torch.full((2, 5), 0.4)
    assert graph(x, c).prototype.tolist() == [0, 0]
    torch.testing.assert_close(graph.centres, torch.tensor([[0.15] * 5, [10.0] * 5]))
    torch.testing.assert_close(graph.confidence, torch.tensor([[0.94] * 5, [1.0] * 5]))
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    graph.eval()(x, c)
    assert all(torch.equal(value, before[name]) for name, value in graph.state_dict().items())
    with pytest.raises(InputError, match=r"\(2, 5\) finite"):
        graph.initialize(centres * torch.nan)


def test_misleading_fill_values_are_told_by_confidence():
    """15: the label is in a variable that a fifth of the stays has; elsewhere its fill value misleads."""
    from sklearn.metrics import average_precision_score

    generator = torch.Generator().manual_seed(0)
    count, steps = 500, 4
    signal = torch.randn(count, generator=generator)
    seen = torch.rand(count, generator=generator) < 0.2
    label = torch.where(seen, (signal > 0).float(), (torch.rand(count, generator=generator) < 0.1).float())
    values = torch.randn(count, steps, 3, generator=generator)
    # Without a measurement the fill looks like a measured sign of the outcome.
    values[:, :, 0] = torch.where(seen, signal, torch.randn(count, generator=generator))[:, None]
    hours = torch.zeros(count, steps, 3)
    hours[~seen, :, 0] = torch.inf
    static = torch.zeros(count, 0)
    found = {}
    for confidence in (True, False):
        config = PrismConfig(
            (1, 1, 1), 0, channel=4, hidden=8, n_prototypes=4, dropout=0.0, state_dropout=0.0,
            confidence=confidence, use_rate=False,
            calibrated_attention=True,
        )  # fmt: skip
        scores = []
        for seed in range(2):
            model = make_model(config, seed=seed, rate=torch.tensor([0.2, 1.0, 1.0]))
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
            for _ in range(120):
                optimizer.zero_grad()
                logits = model(values[:250], static[:250], hours[:250]).logits
                torch.nn.functional.binary_cross_entropy_with_logits(logits, label[:250]).backward()
                optimizer.step()
            with torch.no_grad():
                logits = model.eval()(values[250:], static[250:], hours[250:]).logits
            scores.append(average_precision_score(label[250:], logits))
        found[confidence] = np.mean(scores)
    assert found[True] > found[False] + 0.02, found


def test_32_patients_can_be_learned_by_heart():
    """16: within 200 steps."""
    from sklearn.metrics import roc_auc_score

    values, static, hours = make_batch(count=32, steps=4)
    label = (torch.rand(32, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    model = make_model(PrismConfig((2, 1, 1), 2, channel=8, hidden=16, n_prototypes=4, dropout=0.0, state_dropout=0.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(values, static, hours).logits, label).backward()
        optimizer.step()
    with torch.no_grad():
        assert roc_auc_score(label, model.eval()(values, static, hours).logits) == 1.0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"widths": ()}, "at least one width"),
        ({"widths": (1, 0)}, "width is 0"),
        ({"channel": 0}, "channel is 0"),
        ({"dropout": 1.0}, "dropout"),
        ({"state_dropout": -0.1}, "state_dropout"),
        ({"similarity": "l2"}, "confident, euclidean, cosine"),
        ({"channel": 2.5}, "channel is 2.5: give a whole number"),
        ({"hidden": True}, "hidden is True: give a whole number"),
        ({"horizon": "x"}, "horizon is 'x': give a number"),
        ({"horizon": np.inf}, "horizon is inf"),
        ({"dropout": "abc"}, "dropout is 'abc': give a number"),
        ({"hard_mask": "false"}, "hard_mask is 'false': give True or False"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        PrismConfig(**{"widths": (1,), **fields})


def test_inputs_that_do_not_fit_are_refused():
    values, static, hours = make_batch()
    model = make_model()
    for wrong in ((values[..., :3], static, hours), (values, static[:, :1], hours), (values, static, hours[:, :2])):
        with pytest.raises(InputError, match="do not fit"):
            model(*wrong)
    with pytest.raises(InputError, match="rates"):
        Prism(SMALL, torch.tensor([0.5, 1.2, 0.1]))
