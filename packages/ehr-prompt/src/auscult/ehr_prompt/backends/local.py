"""A model on this machine, by transformers (extra ``local``): weights and tokenizer from a folder or a name."""

import importlib
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from auscult.core.device import choose_device, choose_dtype
from auscult.core.endpoint import Answer, ChatRequest, Reply
from auscult.core.errors import AuscultError, InputError, missing_dependency
from auscult.ehr_prompt.backends import Deliver, Item


class LocalBackend:
    """Generates the answers here, in batches; the model is loaded with the first of them.

    Without a chat template in its tokenizer a model gets the messages one after the other, with an empty line
    between them. With a temperature every answer is drawn alone, from its own seed, so that an answer does not depend
    on what else is in its batch.

    Parameters
    ----------
    model
        A folder with weights and tokenizer, or a name that transformers knows.
    device, dtype
        As in :mod:`auscult.core.device`.
    batch_size
        Questions at a time.

    Raises
    ------
    InputError
        The device cannot be used, or no model can be loaded.
    """

    def __init__(self, model: str, *, device: str = "auto", dtype: str = "auto", batch_size: int = 8) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: use 1 or more")
        self.name, self.batch_size = model, batch_size
        self.device = choose_device(device)
        self.dtype = choose_dtype(self.device, dtype)
        self._loaded: tuple[Any, Any] | None = None

    def answer(self, items: Iterable[Item], deliver: Deliver) -> None:
        """Answer every item, some at a time."""
        waiting = iter(items)
        while batch := list(islice(waiting, self.batch_size)):
            drawn = bool(batch[0].request.temperature)
            groups = [[item] for item in batch] if drawn else [batch]
            answers: list[tuple[str, Answer]] = []
            for group in groups:
                replies = self._generate([item.request for item in group])
                answers += [(item.key, reply) for item, reply in zip(group, replies, strict=True)]
            deliver(answers)

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            try:
                import torch

                hub: Any = importlib.import_module("transformers")
            except ImportError as error:
                raise missing_dependency(
                    "transformers", purpose="a model on this machine", install="ehr-prompt[local]"
                ) from error
            try:
                tokenizer = hub.AutoTokenizer.from_pretrained(self.name, padding_side="left")
                model = hub.AutoModelForCausalLM.from_pretrained(self.name, dtype=getattr(torch, self.dtype))
            except (OSError, ValueError) as error:
                reason = " ".join(str(error).split())[:200]
                raise InputError(f"the model {self.name!r} cannot be loaded ({reason}): give its folder") from error
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.eos_token
            self._loaded = model.to(self.device).eval(), tokenizer
        return self._loaded

    def _generate(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        model, tokenizer = self._load()  # says what is missing where torch is
        import torch

        first = requests[0]
        encoded = tokenizer(
            [_prompt_text(tokenizer, one.messages) for one in requests], return_tensors="pt", padding=True,
            add_special_tokens=tokenizer.chat_template is None,
        ).to(self.device)  # fmt: skip
        settings = importlib.import_module("transformers").GenerationConfig(
            max_new_tokens=first.max_tokens or 64, do_sample=bool(first.temperature),
            pad_token_id=tokenizer.pad_token_id, eos_token_id=model.generation_config.eos_token_id,
            return_dict_in_generate=True, output_logits=bool(first.top_logprobs),
            **({"temperature": first.temperature, "top_k": 0} if first.temperature else {}),
        )  # fmt: skip
        with torch.random.fork_rng(enabled=bool(first.temperature)), torch.inference_mode():
            if first.temperature and first.seed is not None:
                torch.manual_seed(first.seed)
            try:
                made = model.generate(
                    input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], generation_config=settings
                )
            except torch.OutOfMemoryError as error:
                raise AuscultError(
                    f"{len(requests)} prompts at a time do not fit into memory: use a smaller batch size"
                ) from error
        width = encoded["input_ids"].shape[1]
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        replies = []
        for place, request in enumerate(requests):
            tokens = made.sequences[place, width:].tolist()
            stop = next((i for i, token in enumerate(tokens) if token in ends), None)
            kept = tokens if stop is None else tokens[:stop]
            logits = [step[place] for step in made.logits[: max(len(kept), 1)]] if request.top_logprobs else []
            replies.append(
                Reply(
                    tokenizer.decode(kept, skip_special_tokens=True),
                    "length" if stop is None else "stop",
                    None,
                    int(encoded["attention_mask"][place].sum()),
                    len(kept) + (stop is not None),
                    tuple(_alternatives(tokenizer, step, request.top_logprobs) for step in logits),
                )
            )
        return replies


def _prompt_text(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> str:
    if tokenizer.chat_template is None:
        return "\n\n".join(str(message["content"]) for message in messages)
    text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return text


def _alternatives(tokenizer: Any, logits: Any, count: int) -> dict[str, float]:
    """Return the likeliest tokens at one place with their log-probabilities; equal texts are added up."""
    top = logits.float().log_softmax(-1).topk(min(count, logits.shape[-1]))
    found: dict[str, float] = {}
    for token, value in zip(top.indices.tolist(), top.values.tolist(), strict=True):
        text = tokenizer.decode([token])
        found[text] = math.log(math.exp(found[text]) + math.exp(value)) if text in found else value
    return found
