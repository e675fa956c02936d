"""The image steps against torchattacks' PGD, on a classifier."""

import pytest
import torch

from auscult.o2m_attack import AttackConfig
from auscult.o2m_attack.optimise.pgd import ball, image_branch

torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is not installed")


class Classifier:
    """An objective: the cross entropy of a label, to be lowered."""

    def __init__(self, model, label):
        self.model, self.label = model, label

    def pixel_gradient(self, image, suffix_ids):
        leaf = image.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(self.model(leaf[None]), self.label)
        return loss.detach(), torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("epsilon", [2 / 255, 8 / 255, 0.5])
@pytest.mark.parametrize("steps", [1, 10, 25])
def test_equal_images(epsilon, steps):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 14 * 14, 5)
    ).eval()
    clean = torch.randint(0, 256, (3, 16, 16)).float() / 255
    label = torch.tensor([3])
    attack = torchattacks.PGD(model, eps=epsilon, alpha=1.5 / 255, steps=steps, random_start=False)
    attack.set_mode_targeted_by_label(quiet=True)
    theirs = attack(clean[None], label)[0]
    config = AttackConfig(epsilon=epsilon, alpha=1.5 / 255, image_steps=steps)
    ours = image_branch(Classifier(model, label), clean, torch.zeros(0), config, *ball(clean, epsilon))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
