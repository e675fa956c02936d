"""The Diffusion-DPO objective and its relatives, on mean squared errors of denoising (arXiv 2311.12908, 2403.13352).

With m the policy's and r the reference's error, both means over the elements of one image's prediction, and
w, l the preferred and the other image of a pair that share timestep and noise::

    z = -(beta / 2) ((m_w - r_w) - (m_l - r_l))        loss = mean(-log sigmoid(z))

This is the convention of the released Diffusion-DPO code; beta is in the thousands. See the documentation page
for what other implementations call beta.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from auscult.core.errors import InputError
from auscult.core.kernels.paired_error import paired_error

LossType = Literal["sigmoid", "hinge", "ipo", "agfsync_norm"]


@dataclass(frozen=True)
class DPOLossOutput:
    """What a batch of pairs gives.

    Attributes
    ----------
    loss
        The mean over pairs; differentiable with respect to the policy's predictions.
    implicit_accuracy
        Share of pairs whose margin is positive; a margin of exactly 0 counts half. Detached.
    reward_w, reward_l
        (B,) -(beta/2) (m - r) of each image: how much better than the reference the policy denoises it. Detached.
    margin
        (B,) reward_w - reward_l, the z of the formula. Detached.
    """

    loss: Tensor
    implicit_accuracy: Tensor
    reward_w: Tensor
    reward_l: Tensor
    margin: Tensor


@dataclass(frozen=True)
class PairErrors:
    """The errors of a batch of pairs.

    Attributes
    ----------
    error_w, error_l
        (B,) the policy's mean squared error on the preferred image and on the other.
    difference_w, difference_l
        (B,) how far it is above the reference's.
    elements
        Of one image's prediction: C x H x W.
    """

    error_w: Tensor
    error_l: Tensor
    difference_w: Tensor
    difference_l: Tensor
    elements: int


def diffusion_dpo_loss(
    policy_w: Tensor,
    policy_l: Tensor,
    reference_w: Tensor,
    reference_l: Tensor,
    target_w: Tensor,
    target_l: Tensor,
    *,
    beta: float,
    loss_type: LossType = "sigmoid",
    batch_norm_compat: bool = False,
) -> DPOLossOutput:
    """Return the preference loss of a batch of pairs.

    Parameters
    ----------
    policy_w, policy_l, reference_w, reference_l
        (B, C, H, W): what policy and reference predict for the noisy preferred image and for the other, at the
        same timestep and with the same noise. Any floating-point type; reduced in float32 at least.
    target_w, target_l
        What was to be predicted: the noise, v, the clean latents, or noise minus latents for flow matching.
    beta
        Strength of the tie to the reference: the larger, the stronger. About 2000 for SD 1.x and 5000 for SDXL
        with ``"sigmoid"``; about 1 with ``"agfsync_norm"``, whose errors are not divided by their number.
    loss_type
        ``"sigmoid"``: Diffusion-DPO. ``"hinge"`` and ``"ipo"``: the losses of that name in TRL with
        -(m - r)/2 in place of the log-ratio (own extension). ``"agfsync_norm"``: what AGFSync's released code
        computes, a sigmoid of differences of unsquared norms.
    batch_norm_compat
        With ``"agfsync_norm"``: take the norms over the whole batch, as the released code does, which ties all
        pairs of a batch into one sigmoid.

    Raises
    ------
    InputError
        For shapes that differ, a beta that is not positive, or an unknown loss type.

    Examples
    --------
    >>> import torch
    >>> same = torch.ones(2, 4, 8, 8)
    >>> output = diffusion_dpo_loss(same, same, same, same, 0 * same, 0 * same, beta=2000.0)
    >>> round(output.loss.item(), 6), output.implicit_accuracy.item()
    (0.693147, 0.5)
    """
    error_w, difference_w = paired_error(policy_w, reference_w, target_w)
    error_l, difference_l = paired_error(policy_l, reference_l, target_l)
    errors = PairErrors(error_w, error_l, difference_w, difference_l, policy_w[0].numel())
    return preference_loss(errors, beta=beta, loss_type=loss_type, batch_norm_compat=batch_norm_compat)


def preference_loss(
    errors: PairErrors, *, beta: float, loss_type: LossType = "sigmoid", batch_norm_compat: bool = False
) -> DPOLossOutput:
    """Return the loss from errors instead of predictions; arguments as for :func:`diffusion_dpo_loss`."""
    check_objective(beta, loss_type, batch_norm_compat)
    if errors.difference_w.shape != errors.difference_l.shape:
        shapes = tuple(errors.difference_w.shape), tuple(errors.difference_l.shape)
        raise InputError(f"{shapes[0]} preferred and {shapes[1]} other images are no pairs: give as many of each")
    if loss_type == "agfsync_norm":
        reward_w = -beta * _norm_difference(errors.error_w, errors.difference_w, errors.elements, batch_norm_compat)
        reward_l = -beta * _norm_difference(errors.error_l, errors.difference_l, errors.elements, batch_norm_compat)
    else:
        reward_w, reward_l = -(beta / 2) * errors.difference_w, -(beta / 2) * errors.difference_l
    margin = -(beta / 2) * (errors.difference_w - errors.difference_l)
    if loss_type == "agfsync_norm":
        margin = reward_w - reward_l
    if loss_type == "hinge":
        losses = functional.relu(1 - margin)
    elif loss_type == "ipo":
        losses = (margin / beta - 1 / (2 * beta)).square()
    else:
        losses = -functional.logsigmoid(margin)
    correct = (margin > 0).double() + 0.5 * (margin == 0).double()
    return DPOLossOutput(
        losses.mean(), correct.mean().to(margin.dtype), reward_w.detach(), reward_l.detach(), margin.detach()
    )


def check_objective(beta: float, loss_type: str, batch_norm_compat: bool = False) -> None:
    """Refuse settings of the loss that cannot be meant."""
    if loss_type not in get_args(LossType):
        raise InputError(f"there is no loss type {loss_type!r}: use {', '.join(get_args(LossType))}")
    if not 0 < beta < float("inf"):
        raise InputError(f"beta is {beta}: give a positive number, such as 2000 (or 1 with agfsync_norm)")
    if batch_norm_compat and loss_type != "agfsync_norm":
        raise InputError(f"batch_norm_compat goes with the loss type agfsync_norm, not with {loss_type!r}")


def _norm_difference(error: Tensor, difference: Tensor, elements: int, whole_batch: bool) -> Tensor:
    """Return |p - t| - |r - t| of unsquared norms: (B,), or (1,) over the whole batch."""
    if whole_batch:
        elements *= len(error)
        error, difference = error.mean().reshape(1), difference.mean().reshape(1)
    # The difference of two roots, without subtracting nearly equal numbers.
    reference = (error - difference).clamp(min=0)
    tiny = torch.finfo(error.dtype).tiny
    result: Tensor = elements**0.5 * difference / (error.sqrt() + reference.sqrt()).clamp(min=tiny)
    return result
