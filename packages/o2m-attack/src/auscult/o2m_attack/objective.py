"""The loss that all optimisers share: how unlikely the target is, with gradients by token and by pixel.

A prompt is ``[before][image][between][suffix][after][target]``. What stands before the image is remembered for a whole
record, and what stands before the suffix for as long as the image stands, so that a candidate costs the positions of
suffix, tag and target alone, and no look at the image.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from auscult.core.errors import AuscultError, InputError
from auscult.o2m_attack.conditions import make_request
from auscult.o2m_attack.optimise.budget import Ledger
from auscult.o2m_attack.record import Record
from auscult.o2m_attack.targets.cache import Prefix

if TYPE_CHECKING:
    from auscult.o2m_attack.targets.protocol import WhiteBoxTarget

# What torch says on a CPU, where it has no error of its own for this.
_NO_MEMORY = "can't allocate memory"


class Objective:
    """The loss of one record in one condition.

    Parameters
    ----------
    target
        The model.
    record, condition
        What is asked, and what the model is driven to say.
    suffix
        The initial suffix; the empty text for a prompt without one.
    batch
        Candidates in one forward pass; None tries all.

    Attributes
    ----------
    suffix_ids
        The ids [n] of ``suffix`` in its place.
    ledger
        What was spent.

    Raises
    ------
    InputError
        The record lacks what the target text is made of, the tokenizer merges the suffix with its surroundings, or
        the prompt is longer than the model's context.
    """

    def __init__(
        self,
        target: "WhiteBoxTarget",
        record: Record,
        condition: str = "2m",
        *,
        suffix: str = "",
        batch: int | None = None,
    ) -> None:
        self._target = target
        self._language = target.language
        self.ledger = Ledger()
        request = make_request(record, condition, target.prompts.templates)
        self.segments, ids = target.prompts.segments(request, suffix)
        self.suffix_ids = torch.tensor(ids, dtype=torch.long)
        self._before, self._between, self._after, self._wanted = (
            torch.tensor(part, dtype=torch.long)
            for part in (self.segments.before, self.segments.between, self.segments.after, self.segments.target)
        )
        self._batch = batch
        self._start: Prefix | None = None
        self._shared: Prefix | None = None

    @classmethod
    def of_ids(cls, target: "WhiteBoxTarget", record: Record, condition: str, suffix_ids: Tensor) -> "Objective":
        """Return the objective around given suffix ids [n].

        Where the ids do not survive being written out and read again, they stand where a suffix would.
        """
        plain = cls(target, record, condition)
        if not len(suffix_ids):
            return plain
        text = target.prompts.suffix_text(plain.segments, suffix_ids.tolist())
        try:
            found = cls(target, record, condition, suffix=text)
        except InputError:
            return plain
        return found if torch.equal(found.suffix_ids, suffix_ids.cpu()) else plain

    def loss(self, image: Tensor, suffix_ids: Tensor) -> Tensor:
        """Return the loss without any cache; differentiable in the image [3, H, W]."""
        features = self._features(image)
        before = self._language.embed(self._before)
        embeds = torch.cat([before, features, self._behind(suffix_ids)])
        return self._score(embeds[None], Prefix())[0]

    def set_image(self, image: Tensor) -> None:
        """Remember everything before the suffix, for an image."""
        self._shared = self.prefix_of(image)

    def use(self, prefix: Prefix) -> None:
        """Take a prefix of :meth:`prefix_of` as that of the current image."""
        self._shared = prefix

    @torch.no_grad()
    def prefix_of(self, image: Tensor) -> Prefix:
        """Return what the model remembers of everything before the suffix, for an image."""
        features = self._features(image)
        embeds = torch.cat([features, self._language.embed(self._between)])
        return self._language.extend(self._prefix_before_image(), embeds[None], self.ledger)

    def candidate_losses(self, candidates: Tensor, prefix: Prefix | None = None) -> Tensor:
        """Return the losses [B] of suffixes [B, n] behind the current image, or another prefix.

        Where memory runs out, the batch is halved and the rest goes on; the smaller batch is kept.

        Raises
        ------
        AuscultError
            Memory does not suffice for one candidate.
        """
        prefix = self._current if prefix is None else prefix
        losses: list[Tensor] = []
        done, size = 0, self._batch or len(candidates)
        while done < len(candidates):
            rows = candidates[done : done + size]
            try:
                losses.append(self._candidate_losses(rows, prefix))
            except RuntimeError as error:
                if not isinstance(error, torch.OutOfMemoryError) and _NO_MEMORY not in str(error):
                    raise
                if size == 1:
                    raise AuscultError(
                        "memory does not suffice for a single candidate: use a smaller model or dtype"
                    ) from error
                self._batch = size = (min(size, len(rows)) + 1) // 2
                if candidates.device.type == "cuda" or torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            done += len(rows)
        return torch.cat(losses) if losses else torch.zeros(0)

    def token_gradient(self, suffix_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and its gradient [n, V] by the one-hot rows of the suffix, in float32 at least.

        The gradient by a one-hot row is that by its embedding times the embedding matrix, so no one-hot row is made.
        """
        embeds = self._language.embed(suffix_ids).detach().requires_grad_()
        with torch.enable_grad():
            behind = torch.cat([embeds, self._tail])
            loss = self._score(behind[None], self._current)[0]
            (slope,) = torch.autograd.grad(loss, embeds)
        wide = torch.float64 if slope.dtype == torch.float64 else torch.float32
        # In half precision the product of a small slope would vanish; its size is put back behind.
        size = slope.to(wide).abs().amax().clamp_min(torch.finfo(wide).tiny)
        weight = self._language.embedding.weight
        gradient = ((slope.to(wide) / size).to(weight.dtype) @ weight.T).to(wide) * size
        return loss.detach(), gradient

    def pixel_gradient(self, image: Tensor, suffix_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and its gradient [3, H, W] by the pixels, in the image's own type.

        Raises
        ------
        InputError
            The model's loss does not depend on the pixels, as far as torch can see.
        """
        prefix = self._prefix_before_image()
        leaf = image.detach().requires_grad_()
        with torch.enable_grad():
            embeds = torch.cat([self._features(leaf), self._behind(suffix_ids)])
            loss = self._score(embeds[None], prefix)[0]
            slope = torch.autograd.grad(loss, leaf, allow_unused=True)[0] if loss.requires_grad else None
        if slope is None:
            raise InputError(
                f"{self._target.name} gives no gradient by the pixels (its vision tower may run without one): "
                "use gcg, which leaves the image alone, or a model whose vision tower is differentiable"
            )
        return loss.detach(), slope

    @torch.inference_mode()
    def is_exact(self, suffix_ids: Tensor) -> bool:
        """Return whether the target is what the model would greedily say."""
        behind = torch.cat([self._language.embed(suffix_ids), self._tail])
        hidden = self._language.hidden(behind[None], self._current, self.ledger)[0, -len(self._wanted) :]
        return bool(torch.equal(self._language.head(hidden).argmax(-1).cpu(), self._wanted))

    @property
    def _current(self) -> Prefix:
        if self._shared is None:
            raise RuntimeError("set_image comes first")
        return self._shared

    @property
    def _tail(self) -> Tensor:
        """The embeddings of the tag and the target, without the target's last token, after which nothing is asked."""
        return self._language.embed(torch.cat([self._after, self._wanted[:-1]])).detach()

    def _behind(self, suffix_ids: Tensor) -> Tensor:
        embed = self._language.embed
        return torch.cat([embed(self._between), embed(suffix_ids), self._tail])

    def _features(self, image: Tensor) -> Tensor:
        features = self._target.features(image, self.ledger).to(self._language.dtype)
        self._check_length(len(features))
        return features

    def _check_length(self, seen: int) -> None:
        """Refuse a prompt that does not fit the model's context."""
        parts = {"prompt": len(self._before) + len(self._between) + len(self._after), "image": seen}
        parts |= {"suffix": len(self.suffix_ids), "target": len(self._wanted)}
        if sum(parts.values()) > self._language.context:
            listed = ", ".join(f"{name} {count}" for name, count in parts.items())
            raise InputError(
                f"the prompt has {sum(parts.values())} positions ({listed}), but the context of {self._target.name} "
                f"has {self._language.context}: shorten the target or the suffix"
            )

    def _prefix_before_image(self) -> Prefix:
        if self._start is None:
            self._start = self._language.extend(Prefix(), self._language.embed(self._before)[None], self.ledger)
        return self._start

    @torch.inference_mode()
    def _candidate_losses(self, rows: Tensor, prefix: Prefix) -> Tensor:
        embeds = self._language.embed(rows)
        tail = self._tail.expand(len(rows), -1, -1)
        return self._score(torch.cat([embeds, tail], dim=1), prefix)

    def _score(self, embeds: Tensor, prefix: Prefix) -> Tensor:
        """Return the mean loss over the target's tokens for each row; they are the last positions of what is given."""
        hidden = self._language.hidden(embeds, prefix, self.ledger)
        return self._language.negative_log_likelihood(hidden[:, -len(self._wanted) :], self._wanted)
