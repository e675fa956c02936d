"""A judge behind an OpenAI-compatible server (needs the extra ``endpoint``)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from auscult.agfsync.config import ScoreConfig
from auscult.agfsync.images import encode_image
from auscult.agfsync.scoring.judges import Verdict
from auscult.agfsync.scoring.model_judge import CHAT_PROMPT
from auscult.agfsync.scoring.parsing import parse_answer
from auscult.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from auscult.core.endpoint import Answer, ChatRequest


class EndpointJudge:
    """Asks a vision model on a server, one request a question, many at once.

    Parameters
    ----------
    config
        ``vqa_model`` and ``vqa_base_url``; ``soft`` needs a server that reports log-probabilities.
    """

    def __init__(self, config: ScoreConfig) -> None:
        from auscult.core.endpoint import Endpoint

        self._config = config
        self._endpoint = Endpoint(base_url=config.vqa_base_url, model=config.vqa_model)

    def ask(self, images: "Sequence[Image]", questions: Sequence[Sequence[str]]) -> list[Verdict]:
        """Return one verdict a picture; a question that the server does not answer is ``failed``, and NaN."""
        from auscult.core.endpoint import complete_all

        found: dict[str, Answer] = {}
        complete_all(self._endpoint, self._requests(images, questions), found.update)
        verdicts = []
        for i, asked in enumerate(questions):
            pairs = [self._read(found.get(f"{i}/{j}")) for j in range(len(asked))]
            verdicts.append(Verdict([answer for answer, _ in pairs], [yes for _, yes in pairs]))
        return verdicts

    def _requests(
        self, images: "Sequence[Image]", questions: Sequence[Sequence[str]]
    ) -> "list[tuple[str, ChatRequest]]":
        import numpy as np

        from auscult.core.endpoint import ChatRequest, image_part, text_part

        soft = self._config.vqa_mode == "soft"
        requests = []
        for i, (image, asked) in enumerate(zip(images, questions, strict=True)):
            picture = image_part(encode_image(np.asarray(image), "png"), "image/png")
            for j, question in enumerate(asked):
                content = [picture, text_part(CHAT_PROMPT.format(question=question))]
                request = ChatRequest(
                    messages=[{"role": "user", "content": content}], max_tokens=8, temperature=0.0,
                    top_logprobs=5 if soft else 0,
                )  # fmt: skip
                requests.append((f"{i}/{j}", request))
        return requests

    def _read(self, answer: "Answer | None") -> tuple[str, float]:
        import math

        from auscult.core.endpoint import Reply

        if not isinstance(answer, Reply):
            return "failed", math.nan
        word = parse_answer(answer.text)
        if self._config.vqa_mode == "soft":
            if not answer.logprobs:
                raise InputError(
                    f"the server at {self._config.vqa_base_url} reports no log-probabilities: use vqa_mode hard"
                )
            mass = {"yes": 0.0, "no": 0.0}
            for token, logprob in answer.logprobs[0].items():
                if token.strip().lower() in mass:
                    mass[token.strip().lower()] += math.exp(logprob)
            if sum(mass.values()) > 0:
                return word, mass["yes"] / sum(mass.values())
        return word, float(word == "yes")
