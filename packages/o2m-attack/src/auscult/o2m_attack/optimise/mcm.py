"""MCM: one iteration tries the text and the image from the same point, and keeps the better of the two."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from auscult.core.device import derive_seed
from auscult.core.errors import AuscultError, InputError
from auscult.o2m_attack.conditions import make_request
from auscult.o2m_attack.config import AttackConfig
from auscult.o2m_attack.objective import Objective
from auscult.o2m_attack.optimise.gcg import text_branch
from auscult.o2m_attack.optimise.pgd import ball, image_branch, to_lattice
from auscult.o2m_attack.optimise.result import AttackResult, Step
from auscult.o2m_attack.optimise.state import AttackState
from auscult.o2m_attack.preprocess import to_uint8
from auscult.o2m_attack.record import Record
from auscult.o2m_attack.targets.cache import Prefix
from auscult.o2m_attack.targets.protocol import Query

if TYPE_CHECKING:
    from auscult.o2m_attack.targets.protocol import WhiteBoxTarget

Judge = Callable[[str], bool]
"""Says of a reply whether the attack has succeeded."""


class MCM:
    """Multimodal cross-optimisation (arXiv 2405.20775, Algorithm 1).

    With the ball around the clean image, which the algorithm's notation leaves open, both losses measured after the
    step, and the best point of all iterations returned.

    Parameters
    ----------
    config
        See :class:`~auscult.o2m_attack.config.AttackConfig`.
    """

    def __init__(self, config: AttackConfig | None = None) -> None:
        self.config = config or AttackConfig()

    @property
    def settings(self) -> AttackConfig:
        """The configuration as this optimiser uses it, with the branches that it lacks switched off."""
        config = self.config
        if config.accept == "text" or config.epsilon == 0:
            return replace(config, image_steps=0)
        if config.accept == "image" or config.search_width == 0:
            return _image_alone(config)
        return config

    def run(
        self,
        target: "WhiteBoxTarget",
        record: Record,
        condition: str = "2m",
        *,
        judge: Judge | None = None,
        state: AttackState | None = None,
        on_step: Callable[[AttackState], object] | None = None,
    ) -> AttackResult:
        """Optimise one record in one condition.

        Parameters
        ----------
        target
            The model.
        record, condition
            What is asked, and what the model is driven to say.
        judge
            Asked about the model's reply every ``judge_every`` iterations.
        state
            Where an earlier call stood; the rest is then equal to what that call would have done (bit for bit on a
            CPU).
        on_step
            Called after every iteration, with a state that is not changed afterwards.

        Raises
        ------
        InputError
            See :class:`~auscult.o2m_attack.objective.Objective`; or a ``judge_every`` without a judge.
        """
        return _Run(self.settings, target, record, condition, judge).finish(state, on_step)


class GCG(MCM):
    """The suffix alone, by greedy coordinate gradient; the image stays clean."""

    @property
    def settings(self) -> AttackConfig:
        """The configuration without image steps."""
        return replace(self.config, image_steps=0)


class PGD(MCM):
    """The image alone, by projected gradient descent, in a prompt without a suffix.

    Every step is taken, whatever ``accept`` says, and the best point is returned. The released code optimises with its
    initial suffix in the prompt and then evaluates without it.
    """

    @property
    def settings(self) -> AttackConfig:
        """The configuration without suffix candidates."""
        return _image_alone(self.config)


def _image_alone(config: AttackConfig) -> AttackConfig:
    """Return the settings of image steps that are always taken: one that was refused would only be tried again."""
    return replace(config, search_width=0, accept="image")


class _Candidate(NamedTuple):
    image: Tensor
    suffix_ids: Tensor
    loss: float
    prefix: Prefix | None
    """What the model remembers of a new image; None where the image is the current one."""


class _Run:
    """One optimisation in progress."""

    def __init__(
        self, config: AttackConfig, target: "WhiteBoxTarget", record: Record, condition: str, judge: Judge | None
    ) -> None:
        if config.judge_every and judge is None:
            raise InputError("judge_every is set but there is no judge: pass one to run, from Python, or leave it out")
        if not config.search_width and not (config.image_steps and config.epsilon):
            raise InputError(
                f"epsilon is {config.epsilon:g}, image_steps {config.image_steps} and search_width "
                f"{config.search_width} here: neither image nor suffix can change; use an epsilon above 0, or gcg or "
                "mcm with candidates"
            )
        self._config, self._target, self._judge = config, target, judge
        self._seed = (config.seed, record.id, condition)
        request = make_request(record, condition, target.prompts.templates)
        suffix = ""
        if config.search_width:
            suffix = config.initial_suffix or target.prompts.neutral_suffix(request, config.suffix_length)
        self._question = request.question
        self.objective = Objective(target, record, condition, suffix=suffix, batch=config.candidate_batch)
        wide = torch.float64 if target.language.dtype == torch.float64 else torch.float32
        self._clean = target.preprocessor.clean(record.image).to(target.language.device, wide)
        self._low, self._high = ball(self._clean, config.epsilon)

    def finish(self, state: AttackState | None, on_step: Callable[[AttackState], object] | None) -> AttackResult:
        begun = time.perf_counter()
        state = self._begin() if state is None else self._go_on(state)
        earlier = state.seconds
        while not (stopped := self._stopped(state)):
            state = self._iterate(state, lambda: earlier + time.perf_counter() - begun)
            if on_step is not None:
                on_step(state)
        return self._result(state, stopped)

    def _begin(self) -> AttackState:
        objective, ids = self.objective, self.objective.suffix_ids
        objective.set_image(self._clean)
        loss = float(objective.candidate_losses(ids[None])[0])
        if not math.isfinite(loss):
            raise AuscultError(
                f"the loss of the clean input is {loss}: {self._target.name} overflows in "
                f"{self._target.language.dtype}; use another dtype"
            )
        ledger = objective.ledger
        return AttackState(
            self._clean, ids, loss, loss, self._clean, ids, loss,
            forward_tokens=ledger.forward_tokens, vision_passes=ledger.vision_passes,
        )  # fmt: skip

    def _go_on(self, state: AttackState) -> AttackState:
        state = replace(
            state, image=state.image.to(self._clean), best_image=state.best_image.to(self._clean),
            history=list(state.history),
        )  # fmt: skip
        self.objective.set_image(state.image)
        # What had to be computed again to go on was counted the first time.
        self.objective.ledger.forward_tokens = state.forward_tokens
        self.objective.ledger.vision_passes = state.vision_passes
        return state

    def _iterate(self, state: AttackState, clock: Callable[[], float]) -> AttackState:
        step = state.step + 1
        here = _Candidate(state.image, state.suffix_ids, state.loss, None)
        text, image = self._try_text(state, step), self._try_image(state, step)
        mode, chosen = self._choose(here, text, image)
        if chosen.prefix is not None:
            self.objective.use(chosen.prefix)
        new = replace(
            state, image=chosen.image, suffix_ids=chosen.suffix_ids, loss=chosen.loss, step=step,
            history=list(state.history),
        )  # fmt: skip
        if chosen.loss < state.best_loss:
            new.best_image, new.best_suffix_ids = chosen.image, chosen.suffix_ids
            new.best_loss, new.best_step = chosen.loss, step
        new.forward_tokens = self.objective.ledger.forward_tokens
        new.vision_passes = self.objective.ledger.vision_passes
        new.seconds = clock()
        change = float((chosen.image - self._clean).abs().amax()) * 255
        row = Step(
            step, mode, text.loss if text else None, image.loss if image else None, new.loss, new.best_loss, change,
            new.forward_tokens, new.vision_passes, new.seconds,
        )  # fmt: skip
        new.history.append(row)
        return new

    def _try_text(self, state: AttackState, step: int) -> _Candidate | None:
        config = self._config
        if not config.search_width or (config.accept == "alternate" and config.image_steps and step % 2 == 0):
            return None
        stream = torch.Generator().manual_seed(derive_seed(*self._seed, step))
        found = text_branch(self.objective, self._target.prompts, state.suffix_ids, config, stream)
        return None if found is None else _Candidate(state.image, *found, None)

    def _try_image(self, state: AttackState, step: int) -> _Candidate | None:
        config = self._config
        if not config.image_steps or (config.accept == "alternate" and config.search_width and step % 2 == 1):
            return None
        image = image_branch(self.objective, state.image, state.suffix_ids, config, self._low, self._high)
        return self._scored(image, state.suffix_ids)

    def _scored(self, image: Tensor, suffix_ids: Tensor, prefix: Prefix | None = None) -> _Candidate:
        prefix = self.objective.prefix_of(image) if prefix is None else prefix
        loss = float(self.objective.candidate_losses(suffix_ids[None], prefix)[0])
        return _Candidate(image, suffix_ids, math.inf if math.isnan(loss) else loss, prefix)

    def _choose(self, here: _Candidate, text: _Candidate | None, image: _Candidate | None) -> tuple[str, _Candidate]:
        """Return what is accepted and its name; the first of equal losses wins: neither, text, image, both."""
        accept = self._config.accept
        offers: list[tuple[str, _Candidate]] = []
        if accept in ("better_or_stay", "joint") or (text is None and image is None):
            offers.append(("stay", here))
        if text is not None:
            offers.append(("text", text))
        if image is not None:
            offers.append(("image", image))
        if accept == "joint" and text is not None and image is not None:
            offers.append(("both", self._scored(image.image, text.suffix_ids, image.prefix)))
        return min(offers, key=lambda offer: offer[1].loss)

    def _stopped(self, state: AttackState) -> str:
        """Return why to stop now, or nothing."""
        config = self._config
        if config.target_loss is not None and state.best_loss <= config.target_loss:
            return "target_loss"
        if config.patience is not None and state.step - state.best_step >= config.patience:
            return "patience"
        if config.max_seconds is not None and state.seconds >= config.max_seconds:
            return "seconds"
        if config.max_forward_tokens is not None and state.forward_tokens >= config.max_forward_tokens:
            return "forward_tokens"
        if config.stop_when_exact and state.best_step == state.step and self.objective.is_exact(state.suffix_ids):
            return "exact"
        if config.judge_every and state.step and state.step % config.judge_every == 0 and self._judged(state):
            return "judge"
        return "steps" if state.step >= config.steps else ""

    def _judged(self, state: AttackState) -> bool:
        assert self._judge is not None  # checked in the constructor
        image = to_uint8(to_lattice(state.best_image, self._clean, self._config.epsilon))
        suffix = self._target.prompts.suffix_text(self.objective.segments, state.best_suffix_ids.tolist())
        query = Query(image, self._question, suffix)
        return self._judge(self._target.generate([query], max_new_tokens=self._config.new_tokens)[0])

    def _result(self, state: AttackState, stopped: str) -> AttackResult:
        image = to_lattice(state.best_image, self._clean, self._config.epsilon)
        prefix = self.objective.prefix_of(image)
        final = float(self.objective.candidate_losses(state.best_suffix_ids[None], prefix)[0])
        ids = state.best_suffix_ids.tolist()
        text = self._target.prompts.suffix_text(self.objective.segments, ids)
        return AttackResult(
            image.float().cpu(), self._clean.float().cpu(), text, ids, state.best_loss, final, state.initial_loss,
            state.history, stopped,
        )  # fmt: skip
