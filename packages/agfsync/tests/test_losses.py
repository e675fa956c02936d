"""Properties 1 to 4, 8 and 10 of the method, and the loss against independent formulas."""

import math

import numpy as np
import pytest
import torch

from auscult.agfsync import diffusion_dpo_loss
from auscult.agfsync.training.draws import noise_pairs
from auscult.agfsync.training.losses import PairErrors, preference_loss
from auscult.core.errors import InputError

TYPES = ("sigmoid", "hinge", "ipo", "agfsync_norm")


def tensors(batch=3, dtype=torch.float64, seed=0):
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 4, 8, 8, generator=source, dtype=torch.float64).to(dtype) for _ in range(6)]


def numpy_margin(policy_w, policy_l, reference_w, reference_l, target_w, target_l, beta):
    def error(a, b):
        return np.mean((a.double().numpy() - b.double().numpy()) ** 2, axis=(1, 2, 3))

    policy = error(policy_w, target_w) - error(policy_l, target_l)
    return -beta / 2 * (policy - (error(reference_w, target_w) - error(reference_l, target_l)))


@pytest.mark.parametrize("beta", [1.0, 2000.0, 5000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("batch", [1, 5])
def test_equal_policy_and_reference_give_ln_2(beta, dtype, batch):
    policy_w, policy_l, _, _, target_w, target_l = tensors(batch, dtype)
    output = diffusion_dpo_loss(policy_w, policy_l, policy_w, policy_l, target_w, target_l, beta=beta)
    assert output.loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert output.implicit_accuracy.item() == 0.5
    assert output.loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_the_loss_is_the_formula():
    given = tensors()
    output = diffusion_dpo_loss(*given, beta=3.0)
    margin = numpy_margin(*given, 3.0)
    assert output.margin.numpy() == pytest.approx(margin, rel=1e-9)
    assert output.loss.item() == pytest.approx(np.mean(np.log1p(np.exp(-margin))), rel=1e-9)
    assert output.implicit_accuracy.item() == np.mean(margin > 0)
    assert (output.reward_w - output.reward_l).numpy() == pytest.approx(margin, rel=1e-9)


def test_the_loss_is_the_released_formulation():
    """Diffusion-DPO's code stacks both halves, takes one loss of all and splits it."""
    given = tensors()
    policy, reference, target = (torch.cat(given[i : i + 2]) for i in (0, 2, 4))
    own = (policy - target).pow(2).mean(dim=[1, 2, 3])
    w, other = own.chunk(2)
    ref_w, ref_l = (reference - target).pow(2).mean(dim=[1, 2, 3]).chunk(2)
    inside = -0.5 * 5000 * ((w - other) - (ref_w - ref_l))
    expected = -torch.nn.functional.logsigmoid(inside).mean()
    assert diffusion_dpo_loss(*given, beta=5000).loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_digits_survive_a_large_beta():
    policy_w, policy_l, _, _, target_w, target_l = tensors(8, torch.float32)
    source = torch.Generator().manual_seed(1)
    near = [p + 1e-3 * torch.randn(p.shape, generator=source) for p in (policy_w, policy_l)]
    exact = numpy_margin(policy_w, policy_l, *near, target_w, target_l, 5000.0)
    found = diffusion_dpo_loss(policy_w, policy_l, *near, target_w, target_l, beta=5000).margin.numpy()
    assert np.abs(found - exact).max() / np.abs(exact).max() < 2e-6


@pytest.mark.parametrize("beta", [1.0, 50.0])
def test_a_swap_of_winner_and_loser_turns_the_margin(beta):
    policy_w, policy_l, reference_w, reference_l, target_w, target_l = tensors(1)
    one = diffusion_dpo_loss(policy_w, policy_l, reference_w, reference_l, target_w, target_l, beta=beta)
    other = diffusion_dpo_loss(policy_l, policy_w, reference_l, reference_w, target_l, target_w, beta=beta)
    torch.testing.assert_close(other.margin, -one.margin)
    torch.testing.assert_close(other.loss - one.loss, one.margin[0])


def test_the_gradient_is_the_formula_and_descends():
    given = tensors(4)
    policy_w, policy_l = given[0].requires_grad_(), given[1].requires_grad_()
    reference = [tensor.requires_grad_() for tensor in given[2:4]]
    output = diffusion_dpo_loss(*given, beta=3.0)
    output.loss.backward()
    slope = 3.0 / (2 * 4) * torch.sigmoid(-output.margin)
    expected = slope[:, None, None, None] * 2 * (policy_w.detach() - given[4]) / policy_w[0].numel()
    torch.testing.assert_close(policy_w.grad, expected)
    assert all(tensor.grad is None for tensor in reference)

    def gap(w, other):
        return ((w - given[4]) ** 2).mean((1, 2, 3)) - ((other - given[5]) ** 2).mean((1, 2, 3))

    with torch.no_grad():
        after = gap(policy_w - 0.1 * policy_w.grad, policy_l - 0.1 * policy_l.grad)
        assert (after < gap(policy_w, policy_l)).all()


def test_at_equality_the_slopes_are_a_quarter_of_beta():
    error = torch.ones(2, requires_grad=True)
    other = torch.ones(2, requires_grad=True)
    errors = PairErrors(error, other, error - 1, other - 1, 256)
    preference_loss(errors, beta=8.0).loss.backward()
    torch.testing.assert_close(error.grad, torch.full((2,), 8.0 / (4 * 2)))
    torch.testing.assert_close(other.grad, torch.full((2,), -8.0 / (4 * 2)))


def test_the_other_losses_are_trl_s_on_log_ratios():
    given = tensors()
    chosen = -torch.from_numpy(numpy_margin(*given[:1], given[0], *given[2:3], given[2], *given[4:5], given[4], 1.0))
    assert chosen.abs().max() == 0  # the same image on both sides has no margin
    beta = 0.7
    delta = torch.from_numpy(numpy_margin(*given, 1.0))  # the difference of the log-ratios -(m - r) / 2
    hinge = torch.relu(1 - beta * delta).mean()
    ipo = (delta - 1 / (2 * beta)).square().mean()
    assert diffusion_dpo_loss(*given, beta=beta, loss_type="hinge").loss.item() == pytest.approx(hinge.item())
    assert diffusion_dpo_loss(*given, beta=beta, loss_type="ipo").loss.item() == pytest.approx(ipo.item())


def test_agfsync_s_norms_by_pair_and_over_the_batch():
    given = tensors()
    policy_w, policy_l, reference_w, reference_l, target_w, target_l = given
    by_pair = [
        ((p - t).flatten(1).norm(dim=1) - (r - t).flatten(1).norm(dim=1))
        for p, r, t in ((policy_w, reference_w, target_w), (policy_l, reference_l, target_l))
    ]
    expected = -torch.nn.functional.logsigmoid(-(by_pair[0] - by_pair[1])).mean()
    assert diffusion_dpo_loss(*given, beta=1.0, loss_type="agfsync_norm").loss.item() == pytest.approx(expected.item())
    whole = [
        (p - t).norm() - (r - t).norm()
        for p, r, t in ((policy_w, reference_w, target_w), (policy_l, reference_l, target_l))
    ]
    expected = -torch.nn.functional.logsigmoid(-(whole[0] - whole[1]))
    found = diffusion_dpo_loss(*given, beta=1.0, loss_type="agfsync_norm", batch_norm_compat=True)
    assert found.loss.item() == pytest.approx(expected.item())


@pytest.mark.parametrize(("loss_type", "compat"), [*((name, False) for name in TYPES), ("agfsync_norm", True)])
def test_a_batch_may_be_cut_anywhere_but_for_the_released_norm(loss_type, compat):
    given = tensors(4)

    def gradient(parts):
        policy = given[0].clone().requires_grad_()
        for rows in parts:
            cut = [policy[rows], *(tensor[rows] for tensor in given[1:])]
            output = diffusion_dpo_loss(*cut, beta=2.0, loss_type=loss_type, batch_norm_compat=compat)
            (output.loss * len(cut[0]) / 4).backward()
        return policy.grad

    whole, single = gradient([slice(0, 4)]), gradient([slice(i, i + 1) for i in range(4)])
    same = torch.allclose(whole, single, rtol=1e-9)
    assert same is not compat


def test_the_mean_is_taken_after_the_logsigmoid():
    given = tensors()
    margin = torch.from_numpy(numpy_margin(*given, 50.0))
    wrong = -torch.nn.functional.logsigmoid(margin.mean())
    assert abs(diffusion_dpo_loss(*given, beta=50.0).loss.item() - wrong.item()) > 1e-3


def test_v_errors_are_epsilon_errors_over_abar():
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(prediction_type="v_prediction")
    source = torch.Generator().manual_seed(0)
    clean, noise, guess = (torch.randn(1, 4, 8, 8, generator=source, dtype=torch.float64) for _ in range(3))
    for step in (1, 250, 500, 900, 999):
        t = torch.tensor([step])
        abar = scheduler.alphas_cumprod[step].double()
        noisy = abar.sqrt() * clean + (1 - abar).sqrt() * noise
        x0 = (noisy - (1 - abar).sqrt() * guess) / abar.sqrt()
        v = abar.sqrt() * guess - (1 - abar).sqrt() * x0
        target = abar.sqrt() * noise - (1 - abar).sqrt() * clean
        torch.testing.assert_close(
            (v - target).square().mean(), (guess - noise).square().mean() / abar, rtol=1e-6, atol=0
        )
        torch.testing.assert_close(scheduler.get_velocity(clean, noise, t), target, rtol=1e-5, atol=1e-6)


def test_flow_matching_needs_only_its_target():
    source = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(2, 4, 8, 8, generator=source) for _ in range(2))
    target = noise - clean
    output = diffusion_dpo_loss(target, 0 * target, 0 * target, 0 * target, target, target, beta=1.0)
    assert (output.reward_w > 0).all()
    assert torch.equal(output.reward_w, 0.5 * target.square().mean((1, 2, 3)))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("sampler", ["DDPMScheduler", "EulerDiscreteScheduler", "PNDMScheduler"])
def test_targets_of_each_kind_come_from_the_clean_latents(kind, sampler):
    import diffusers
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(prediction_type=kind)
    source = torch.Generator().manual_seed(0)
    batch = {"pair": torch.tensor([3, 5]), **{f"mean_{s}": torch.randn(2, 4, 8, 8, generator=source) for s in "wl"}}
    batch |= {f"std_{s}": torch.zeros(2, 4, 8, 8) for s in "wl"}
    sampler = getattr(diffusers, sampler)()
    sampler.register_to_config(prediction_type=kind)
    drawn = noise_pairs(batch, [0, 0], sampler, seed=0)
    clean = torch.cat([batch["mean_w"], batch["mean_l"]])
    expected = {"epsilon": drawn.noise, "sample": clean}.get(kind)
    if expected is None:
        expected = scheduler.get_velocity(clean, drawn.noise, drawn.timesteps)
    torch.testing.assert_close(drawn.target, expected)
    kept = scheduler.alphas_cumprod[drawn.timesteps].reshape(-1, 1, 1, 1)
    torch.testing.assert_close(drawn.noisy, kept.sqrt() * clean + (1 - kept).sqrt() * drawn.noise)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"beta": 0.0}, "beta is 0"), ({"beta": float("nan")}, "beta is nan"), ({"beta": 1, "loss_type": "kto"}, "kto"),
     ({"beta": 1, "batch_norm_compat": True}, "batch_norm_compat")],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        diffusion_dpo_loss(*tensors(), **options)


def test_shapes_that_are_no_pairs_are_refused():
    given = tensors()
    with pytest.raises(InputError, match="shapes"):
        diffusion_dpo_loss(given[0][:2], *given[1:], beta=1.0)
    with pytest.raises(InputError, match="no pairs"):
        diffusion_dpo_loss(*(tensor[:2] if i in (0, 2, 4) else tensor for i, tensor in enumerate(given)), beta=1.0)
