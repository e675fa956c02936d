"""One iteration of MCM computed the way of the released code (dirtycomputer/O2M_attack), on our model and our pixels.

What is its way: nothing is cached, so that every pass goes over the whole prompt and every row of a batch through the
vision tower; scores of the whole vocabulary at all positions; and a reply of 30 tokens is generated for the accepted
text and after each of the image steps. Sizes are its own: 10 candidates of the 64 best tokens, 5 image steps. What is
not its way, so that both compute the same thing: the ball in pixels, candidates that read the same in the whole prompt,
and the loss of the image after its last step.
"""

import torch
from torch import Tensor

from auscult.o2m_attack import AttackConfig, LlavaTarget
from auscult.o2m_attack.objective import Objective
from auscult.o2m_attack.optimise.gcg import keep_survivors, sample_candidates
from auscult.o2m_attack.optimise.pgd import ball, signed_step

REPLY = 30


def candidates_of(
    objective: Objective, target: LlavaTarget, gradient: Tensor, config: AttackConfig, seed: int
) -> Tensor:
    """Return the candidates that both ways score."""
    ids = objective.suffix_ids
    forbidden = torch.ones(gradient.shape[1], dtype=torch.bool)
    known = target.prompts.forbidden()
    forbidden[: len(known)] = known
    drawn = sample_candidates(ids, gradient, forbidden, config, torch.Generator().manual_seed(seed))
    return keep_survivors(objective, target.prompts, ids, drawn)


class ReferenceStep:
    """The whole prompt, every time."""

    def __init__(self, target: LlavaTarget, objective: Objective, image: Tensor, config: AttackConfig) -> None:
        self.target, self.config, self.image = target, config, image
        self.objective = objective
        self.ids = objective.suffix_ids
        self.segments = objective.segments

    def run(self, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses of the candidates, the image after its steps, and its loss."""
        gradient = self.token_gradient()
        candidates = candidates_of(self.objective, self.target, gradient, self.config, seed)
        losses = self.candidate_losses(candidates)
        self.reply(self.image, candidates[losses.argmin()])
        image = self.image
        low, high = ball(self.image, self.config.epsilon)
        for _ in range(self.config.image_steps):
            image = self.image_step(image, low, high)
            self.reply(image, self.ids)
        with torch.no_grad():
            return losses, image, self.loss(self.embeds(image, self.one_hot(self.ids)))

    def one_hot(self, ids: Tensor) -> Tensor:
        """Return the one-hot rows [n, V] of a suffix."""
        matrix = self.target.language.embedding.weight
        return torch.nn.functional.one_hot(ids, len(matrix)).to(matrix.dtype)

    def embeds(self, image: Tensor, one_hot: Tensor) -> Tensor:
        """Return the whole prompt with its target [positions, d]."""
        embed = self.target.language.embed
        parts = [torch.tensor(ids, dtype=torch.long) for ids in (self.segments.before, self.segments.between)]
        behind = torch.tensor([*self.segments.after, *self.segments.target], dtype=torch.long)
        suffix = one_hot @ self.target.language.embedding.weight
        return torch.cat([embed(parts[0]), self.target.features(image), embed(parts[1]), suffix, embed(behind)])

    def loss(self, embeds: Tensor) -> Tensor:
        """Return the loss of one prompt."""
        return self.losses(embeds[None])[0]

    def losses(self, embeds: Tensor) -> Tensor:
        """Return the losses of prompts [B, positions, d]."""
        wanted = torch.tensor(self.segments.target)
        scores = self.target.model(inputs_embeds=embeds, use_cache=False).logits[:, -len(wanted) - 1 : -1].float()
        labels = wanted.expand(len(embeds), -1)
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none")
        return loss.view(len(embeds), -1).mean(1)

    def token_gradient(self) -> Tensor:
        """Return the gradient by the one-hot rows."""
        rows = self.one_hot(self.ids).requires_grad_()
        return torch.autograd.grad(self.loss(self.embeds(self.image, rows)), rows)[0]

    @torch.no_grad()
    def candidate_losses(self, candidates: Tensor) -> Tensor:
        """Return the losses of suffixes [B, n]."""
        rows = [self.embeds(self.image, self.one_hot(ids)) for ids in candidates]
        return self.losses(torch.stack(rows))

    def image_step(self, image: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the image after one step."""
        leaf = image.detach().requires_grad_()
        slope = torch.autograd.grad(self.loss(self.embeds(leaf, self.one_hot(self.ids))), leaf)[0]
        return signed_step(image, slope, self.config.alpha, low, high)

    @torch.inference_mode()
    def reply(self, image: Tensor, ids: Tensor) -> None:
        """Generate what the success check reads."""
        whole = self.embeds(image, self.one_hot(ids))[: -len(self.segments.target)]
        self.target.model.generate(
            inputs_embeds=whole[None], attention_mask=torch.ones(1, len(whole), dtype=torch.long), do_sample=False,
            max_new_tokens=REPLY, min_new_tokens=REPLY, pad_token_id=0,
        )  # fmt: skip
