"""The demonstration's model: a tiny LLaVA of the real class that is taught, on the spot, to look and to refuse.

Trained on everything at once, such a model learns the texts and ignores the image: it answers a question about a
chest as well when it is shown a brain. Three lessons in this order make it look: the vision tower learns to tell the
drawings apart; the language model learns, on short texts, to compare what is claimed with what is seen; then both learn
the whole conversation, half of it with a false claim, and every reply begins with what the image shows.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from auscult.core.device import one_thread
from auscult.core.progress import progress
from auscult.o2m_attack.conditions import Request
from auscult.o2m_attack.drawings import DRAWN, SIZE, draw
from auscult.o2m_attack.stand_ins import QUESTIONS, TEMPLATES, StandIn, reply
from auscult.o2m_attack.targets.llava import LlavaTarget
from auscult.o2m_attack.targets.tiny import tiny_image_processor, tiny_tokenizer

PATCH = 12
WIDTH = 64
VOCABULARY = 480
DRAWINGS = 1200
LONGEST_SUFFIX = 20

VISION_STEPS = 120
LANGUAGE_STEPS = 160
JOINT_STEPS = 150


def demo_target(seed: int = 0) -> LlavaTarget:
    """Train the demonstration's model and return it as a target; half a minute of one core.

    Parameters
    ----------
    seed
        Of weights, drawings and draws; on one machine the same seed gives the same model.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pupil = _Pupil(np.random.default_rng([seed, 0]))
        lessons = [(pupil.look, VISION_STEPS), (pupil.compare, LANGUAGE_STEPS), (pupil.converse, JOINT_STEPS)]
        with progress("Training the model under test", total=sum(steps for _, steps in lessons)) as advance:
            for lesson, steps in lessons:
                for _ in lesson(steps):
                    advance(1)
    return pupil.target(seed)


class Case(NamedTuple):
    """One conversation to learn from."""

    shown: str
    claim: str
    question: StandIn
    restricted: bool

    def request(self) -> Request:
        """Return what is asked, and what is to be said."""
        asked = self.question.restricted if self.restricted else self.question.normal
        answer = reply(self.shown, self.question, restricted=self.restricted, fits=self.claim == self.shown)
        return Request(TEMPLATES.question.format(claim=self.claim, prompt=asked), answer)


class _Pupil:
    """Model, tokenizer and drawings while they are in training."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.tokenizer = tiny_tokenizer(_corpus(), VOCABULARY)
        self.model = _fresh_model(self.tokenizer)
        self.reader = LlavaTarget(
            self.model, self.tokenizer, tiny_image_processor("llava", SIZE), name="demo", templates=TEMPLATES
        )
        self.shown = np.arange(DRAWINGS) % len(DRAWN)
        drawings = np.stack([draw(DRAWN[one], rng) for one in self.shown])
        pixels = torch.from_numpy(drawings).permute(0, 3, 1, 2).float() / 255
        self.views = torch.cat([self.reader.preprocessor.views(one) for one in pixels])
        self.positions = (SIZE // PATCH) ** 2
        self.segments: Callable[[Case], Any] = cache(lambda case: self.reader.prompts.segments(case.request(), "")[0])
        self.opening: Callable[[Case], int] = cache(self._opening)
        self.claim_ids: Callable[[str], list[int]] = cache(self._claim_ids)
        usable = (~self.reader.prompts.forbidden()).nonzero().flatten()
        self.usable = usable.numpy()
        self.model.requires_grad_(True).train()

    def target(self, seed: int) -> LlavaTarget:
        return LlavaTarget(
            self.model, self.tokenizer, self.reader.image_processor, name=f"demo-{seed}", templates=TEMPLATES
        )

    def look(self, steps: int) -> Iterator[None]:
        """Teach the vision tower to tell the drawings apart, with a head that is thrown away."""
        tower = self.model.model.vision_tower
        head = nn.Linear(WIDTH, len(DRAWN))
        labels = torch.from_numpy(self.shown)

        def loss() -> Tensor:
            rows = torch.from_numpy(self.rng.integers(0, DRAWINGS, 64))
            seen = tower(pixel_values=self.views[rows]).last_hidden_state[:, 1:].mean(1)
            return nn.functional.cross_entropy(head(seen), labels[rows])

        yield from _descend([*tower.parameters(), *head.parameters()], loss, steps, peak=3e-3)

    def compare(self, steps: int) -> Iterator[None]:
        """Teach the language model whether claim and sight agree; image and question leave but their room."""
        language, head = self.model.model.language_model, self.model.lm_head

        def loss() -> Tensor:
            rows = []
            for _ in range(64):
                case = self._draw_case(restricted=0.0)
                parts = self.segments(case)
                claimed = len(self.claim_ids(case.claim))
                room = len(parts.before) - claimed + self.positions + len(parts.between)
                room += int(self.rng.integers(LONGEST_SUFFIX))
                ids = [*parts.before[:claimed], *parts.after, *parts.target]
                places = [*range(claimed), *range(claimed + room, room + len(ids))]
                rows.append((ids, places, len(ids) - len(parts.target) + self.opening(case)))
            tokens, at, learned = _padded(rows)
            states = language(input_ids=tokens, position_ids=at, attention_mask=None).last_hidden_state
            return _next_token_loss(head, states, tokens, learned)

        yield from _descend([*language.parameters(), *head.parameters()], loss, steps, peak=5e-3)

    def converse(self, steps: int) -> Iterator[None]:
        """Teach the whole conversation, with any suffix behind it."""

        def loss() -> Tensor:
            rows = []
            images = self.rng.integers(0, DRAWINGS, 48)
            for one in images:
                parts = self.segments(self._draw_case(shown=DRAWN[self.shown[one]], restricted=0.3))
                suffix = self.rng.choice(self.usable, self.rng.integers(LONGEST_SUFFIX) * self.rng.integers(2))
                image = [self.reader.prompts.image_token_id] * self.positions
                prompt = [*parts.before, *image, *parts.between, *suffix.tolist(), *parts.after]
                ids = [*prompt, *parts.target, self.tokenizer.eos_token_id]
                rows.append((ids, range(len(ids)), len(prompt)))
            tokens, _, learned = _padded(rows)
            pixels = self.views[torch.from_numpy(images)]
            states = self.model.model(input_ids=tokens, pixel_values=pixels).last_hidden_state
            return _next_token_loss(self.model.lm_head, states, tokens, learned)

        yield from _descend(list(self.model.parameters()), loss, steps, peak=3e-3)

    def _draw_case(self, *, restricted: float, shown: str | None = None) -> Case:
        """Draw a conversation, every second one with a false claim."""
        shown = shown or DRAWN[self.rng.integers(len(DRAWN))]
        claim = shown
        if self.rng.random() < 0.5:
            claim = DRAWN[(DRAWN.index(shown) + self.rng.integers(1, len(DRAWN))) % len(DRAWN)]
        question = QUESTIONS[self.rng.integers(len(QUESTIONS))]
        return Case(shown, claim, question, bool(self.rng.random() < restricted))

    def _claim_ids(self, claim: str) -> list[int]:
        return _common_prefix(*(self.segments(Case(claim, claim, one, False)).before for one in QUESTIONS[:2]))

    def _opening(self, case: Case) -> int:
        """Return how many tokens of the reply only name what is seen."""
        asked = case.request().question
        return len(self.reader.prompts.segments(Request(asked, f"I see {case.shown}."), "")[0].target)


def _fresh_model(tokenizer: Any) -> Any:
    """Return an untrained model."""
    import transformers

    vision = transformers.CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2, num_attention_heads=4, image_size=SIZE,
        patch_size=PATCH, projection_dim=WIDTH,
    )  # fmt: skip
    # Weights of a usual scale, 0.02, are far too small for a model this narrow: it would take thrice the steps.
    language = transformers.LlamaConfig(
        hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2, num_attention_heads=8,
        num_key_value_heads=8, vocab_size=len(tokenizer), max_position_embeddings=512, initializer_range=0.1,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=language, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1, image_seq_length=(SIZE // PATCH) ** 2,
    )  # fmt: skip
    return transformers.LlavaForConditionalGeneration(config)


def _corpus() -> list[str]:
    """Return every conversation, so that each word in them is one token."""
    cases = [Case(a, b, one, r) for a in DRAWN for b in DRAWN for one in QUESTIONS for r in (False, True)]
    return [f"{case.request().question}\nUSER: ASSISTANT: {case.request().target}" for case in cases]


def _descend(parameters: list[nn.Parameter], loss: Callable[[], Tensor], steps: int, *, peak: float) -> Iterator[None]:
    optimizer = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.15)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        yield


def _padded(rows: list[tuple[list[int], Any, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, their places and which are to be learned (from a start on), [rows, longest] each."""
    shape = (len(rows), max(len(ids) for ids, _, _ in rows))
    ids, places, learned = (np.zeros(shape, kind) for kind in (np.int64, np.int64, np.bool_))
    for row, (tokens, at, start) in enumerate(rows):
        ids[row, : len(tokens)] = tokens
        places[row, : len(tokens)] = at
        learned[row, start : len(tokens)] = True
    return torch.from_numpy(ids), torch.from_numpy(places), torch.from_numpy(learned)


def _next_token_loss(head: nn.Module, states: Tensor, ids: Tensor, learned: Tensor) -> Tensor:
    wanted = learned[:, 1:]
    return nn.functional.cross_entropy(head(states[:, :-1][wanted]), ids[:, 1:][wanted])


def _common_prefix(first: list[int], second: list[int]) -> list[int]:
    length = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), len(first))
    return first[:length]
