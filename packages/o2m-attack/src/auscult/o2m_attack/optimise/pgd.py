"""The image branch: signed gradient steps within a ball around the clean image, in pixels."""

import torch
from torch import Tensor

from auscult.o2m_attack.config import AttackConfig
from auscult.o2m_attack.objective import Objective


def ball(clean: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest pixels of the L-infinity ball around the clean image, within [0, 1]."""
    return (clean - epsilon).clamp_min(0.0), (clean + epsilon).clamp_max(1.0)


def signed_step(image: Tensor, gradient: Tensor, alpha: float, low: Tensor, high: Tensor) -> Tensor:
    """Return the image after a step of length alpha against the gradient's sign, put back between two bounds."""
    return torch.clamp(torch.add(image, gradient.sign(), alpha=-alpha), low, high)


def image_branch(
    objective: Objective, image: Tensor, suffix_ids: Tensor, config: AttackConfig, low: Tensor, high: Tensor
) -> Tensor:
    """Return the image [3, H, W] after ``image_steps`` steps, with the suffix as it is.

    A pixel whose gradient is no number stays where it is.
    """
    for _ in range(config.image_steps):
        _, gradient = objective.pixel_gradient(image, suffix_ids)
        image = signed_step(image, gradient.nan_to_num(0.0, 0.0, 0.0), config.alpha, low, high)
    return image


def to_lattice(image: Tensor, clean: Tensor, epsilon: float) -> Tensor:
    """Return the nearest image that 8 bits a channel can hold and that is within epsilon of the clean one.

    A pixel is k/255 with ``255 (clean - epsilon) <= k <= 255 (clean + epsilon)``, within 0 and 255.
    """
    exact, middle = image.double() * 255, clean.double() * 255
    low = torch.ceil(middle - 255 * epsilon - 1e-6).clamp_min(0)
    high = torch.floor(middle + 255 * epsilon + 1e-6).clamp_max(255)
    return (torch.clamp(exact.round(), low, high) / 255).to(image.dtype)
