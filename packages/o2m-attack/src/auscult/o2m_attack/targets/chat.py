"""Any image-and-text model of transformers, as a target of replay: its own processor, chat template and generation."""

from collections.abc import Sequence
from typing import Any

import torch

from auscult.core.errors import InputError
from auscult.o2m_attack.conditions import Templates
from auscult.o2m_attack.targets.protocol import Query


class ChatTarget:
    """A model that gives replies alone.

    Parameters
    ----------
    model
        Of ``AutoModelForImageTextToText``.
    processor
        With a chat template.
    name
        What reports call it.
    templates
        The wordings around claim and prompt; question, image and suffix become parts of one message.
    """

    def __init__(self, model: Any, processor: Any, *, name: str, templates: Templates | None = None) -> None:
        if not getattr(processor, "chat_template", None):
            raise InputError(
                f"the processor of {name} has no chat template: add one to its folder (chat_template.jinja)"
            )
        self.model = model.eval()
        self.processor = processor
        self.templates = templates or Templates()
        self._name = name

    @property
    def name(self) -> str:
        """What reports call it."""
        return self._name

    @torch.inference_mode()
    def generate(self, queries: Sequence[Query], *, max_new_tokens: int = 64) -> list[str]:
        """Return the greedy reply to each query, without the prompt and special tokens."""
        return [self._reply(query, max_new_tokens) for query in queries]

    def _reply(self, query: Query, max_new_tokens: int) -> str:
        from PIL import Image

        turn = self.templates.turn.format(question=query.question, image="\u241f", suffix=query.suffix)
        before, _, behind = turn.partition("\u241f")
        parts: list[dict[str, Any]] = [{"type": "text", "text": before.strip()}, {"type": "image"}]
        if behind.strip():
            parts.append({"type": "text", "text": behind.strip()})
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
        )
        begin = getattr(getattr(self.processor, "tokenizer", None), "bos_token", None)
        # A template may bring the beginning-of-text token, which the tokenizer would put there a second time.
        options = {"add_special_tokens": False} if begin and text.startswith(begin) else {}
        inputs = self.processor(images=Image.fromarray(query.image), text=text, return_tensors="pt", **options)
        inputs = inputs.to(self.model.device, self.model.dtype)
        ids = self.model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, temperature=None, top_p=None,
            top_k=None,
        )  # fmt: skip
        reply: str = self.processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return reply.strip()
