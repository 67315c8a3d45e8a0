"""Chat models: what stands around a prompt, and the program in an answer.

A model folder whose tokenizer_config.json says `"coderl_prompt": "chat"` (the stage `adopt` writes that) is asked through its tokenizer's
own chat template, in every stage, and so are the actors and critics that are made from it, since the tokenizer goes with them. Its answers
are prose with a program in a code fence: the program is what is judged, the whole answer is what is learnt from (`Program.extra["text"]`).
References are taught in a fence for the same reason. Below `tokens`; knows no model.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from .errors import ModelError

KEY = "coderl_prompt"
"""In tokenizer_config.json: "chat"; absent: prompts are plain text that the model continues."""
REQUEST = "Solve this programming problem in Python. Answer with the whole program in one code block.\n\n"
"""In front of the problem in the user's turn. Ours: neither paper has chat models."""
_PLACE = "<<<problem>>>"
_FENCE = re.compile(r"^ {0,3}```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^ {0,3}```[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_PYTHON = ("", "py", "python", "python3")


class Around(NamedTuple):
    """Text in front of the user's words and behind them."""

    front: str
    back: str


def is_chat(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether prompts go through the tokenizer's chat template."""
    return tokenizer.init_kwargs.get(KEY) == "chat"


def around(tokenizer: PreTrainedTokenizerBase) -> Around:
    """What the chat template puts around one turn of the user, up to where the answer begins; models that can think aloud are asked not to.

    Raises:
        ModelError: no chat template, or one that does not show the user's words.
    """
    if not tokenizer.chat_template:
        raise ModelError("the tokenizer has no chat template, so the model cannot be asked as a chat model; adopt it with --prompt plain")
    turn = [{"role": "user", "content": _PLACE}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    front, found, back = str(text).partition(_PLACE)
    if not found:
        raise ModelError("the tokenizer's chat template leaves out what the user says; adopt the model with --prompt plain")
    return Around(front, back)


def request(text: str) -> str:
    """The user's words for a prompt."""
    return REQUEST + text.strip()


def fenced(code: str) -> str:
    """A program as a chat model writes it."""
    return f"```python\n{code.rstrip()}\n```"


def program_in(text: str, chat: bool) -> str:
    """The program in a generated text: the longest of its code blocks, Python ones first; the text itself where there is none.

    Only a chat model's texts are searched, and texts that begin with a fence, which is never Python: a plain one may hold fences in a docstring.
    """
    if not chat and not text.lstrip().startswith("```"):
        return text
    blocks = _FENCE.findall(text)
    python = [code for language, code in blocks if language.lower() in _PYTHON]
    return max(python or [code for _, code in blocks] or [text], key=len)
