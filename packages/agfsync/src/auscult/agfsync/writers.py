"""Language models that write prompts and questions: behind a server, or here."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from auscult.agfsync.config import LLMConfig
from auscult.core.errors import InputError


class Writer(Protocol):
    """Answers chats."""

    def write(self, chats: Sequence[tuple[str, str, str]], deliver: Callable[[str, str | None], None]) -> None:
        """Answer each ``(key, system, user)`` and deliver its key and reply, None where there is none for good."""


def make_writer(backend: str, config: LLMConfig, seed: int = 0) -> Writer:
    """Return the writer that a configuration names; one that runs here draws from the seed."""
    if not config.model:
        raise InputError(f"the backend {backend} needs llm.model: name the language model")
    return EndpointWriter(config) if backend == "endpoint" else LocalWriter(config, seed)


class EndpointWriter:
    """A chat model behind an OpenAI-compatible server (needs the extra ``endpoint``)."""

    def __init__(self, config: LLMConfig) -> None:
        from auscult.core.endpoint import Endpoint

        if not config.base_url:
            raise InputError("the backend endpoint needs llm.base_url, such as http://127.0.0.1:8000/v1")
        self._config = config
        self._endpoint = Endpoint(base_url=config.base_url, model=config.model)

    def write(self, chats: Sequence[tuple[str, str, str]], deliver: Callable[[str, str | None], None]) -> None:
        """See :class:`Writer`."""
        from auscult.core.endpoint import Answer, ChatRequest, Reply, complete_all

        def request(system: str, user: str) -> ChatRequest:
            messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            return ChatRequest(
                messages=messages, max_tokens=self._config.max_tokens, temperature=self._config.temperature
            )

        def pass_on(answers: list[tuple[str, Answer]]) -> None:
            for key, answer in answers:
                deliver(key, answer.text if isinstance(answer, Reply) and not answer.refusal else None)

        complete_all(self._endpoint, [(key, request(system, user)) for key, system, user in chats], pass_on)


class LocalWriter:
    """A chat model of transformers on this machine."""

    def __init__(self, config: LLMConfig, seed: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from auscult.core.device import choose_device, choose_dtype

        device = choose_device("auto")
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(config.model)
            model: Any = AutoModelForCausalLM.from_pretrained(config.model, dtype=getattr(torch, choose_dtype(device)))
        except (OSError, ValueError) as error:
            raise InputError(f"the language model {config.model!r} cannot be loaded: give a folder or an ID") from error
        self._model: Any = model.to(device).eval()
        self._config, self._seed = config, seed
        self._asked: Counter[str] = Counter()

    def write(self, chats: Sequence[tuple[str, str, str]], deliver: Callable[[str, str | None], None]) -> None:
        """See :class:`Writer`."""
        import torch

        from auscult.core.device import derive_seed

        for key, system, user in chats:
            messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            inputs = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
            ).to(self._model.device)
            sampling = (
                {"do_sample": True, "temperature": self._config.temperature}
                if self._config.temperature
                else {"do_sample": False}
            )
            # Another attempt at the same request should not get the same words again.
            torch.manual_seed(derive_seed(self._seed, key, self._asked[key]) % 2**63)
            self._asked[key] += 1
            with torch.inference_mode():
                out = self._model.generate(**inputs, max_new_tokens=self._config.max_tokens, **sampling)
            deliver(key, self._tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
