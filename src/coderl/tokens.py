"""Text to token ids and token ids to batches.

A tokenizer is a Hugging Face one: trained here on a problem set (`train_tokenizer`), or loaded (`load_tokenizer`: a Hugging Face
directory, or the bare vocabulary and merges of the CodeT5 repository). A batch keeps every distinct prompt once and its programs
as rows that point at it, so that the encoder works once per prompt however many programs of it are in the batch. Programs are
`code tokens + </s>`. CodeT5's tokenizer puts `<s>` and `</s>` around every text, and so do prompts and programs then (`ends_of`).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from . import chat
from .errors import CoderlError, DataError, ModelError
from .formulas.masks import length_mask
from .models.hub import local_folder
from .store import system_error, write_failure

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")  # ids 0..4, as in CodeT5
IGNORE = -100  # label of a position that does not count


def _wrap(bpe: ByteLevelBPETokenizer, extra_ids: int = 0) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        clean_up_tokenization_spaces=False,
    )
    if extra_ids:
        tokenizer.add_tokens([f"<extra_id_{extra_ids - 1 - i}>" for i in range(extra_ids)], special_tokens=True)
    return tokenizer


def sentinel_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids of <extra_id_0>, <extra_id_1>, ..., which stand for masked spans; () where the tokenizer has none."""
    known = tokenizer.get_vocab()
    return tuple(known[name] for i in range(len(known)) if (name := f"<extra_id_{i}>") in known)


def train_tokenizer(texts: Iterable[str], vocabulary: int = 1024, sentinels: int = 0) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (RoBERTa style, as CodeT5's) with `vocabulary` entries, trained on `texts`, and sentinels behind them."""
    bpe = ByteLevelBPETokenizer(add_prefix_space=False)
    bpe.train_from_iterator(texts, vocab_size=vocabulary, min_frequency=2, special_tokens=list(SPECIAL_TOKENS), show_progress=False)
    return _wrap(bpe, sentinels)


def load_tokenizer(directory: str | Path) -> PreTrainedTokenizerFast:
    """A tokenizer from a Hugging Face directory or hub name, or from CodeT5's `*vocab.json` and `*merges.txt`.

    Raises:
        ModelError: no such folder, or nothing in it that a tokenizer can be read from.
    """
    directory = local_folder(directory)
    if not directory.is_dir():
        raise ModelError(f"{directory} is not a folder; give a folder with tokenizer.json, or with a vocab.json and a merges.txt")
    if (directory / "tokenizer.json").is_file():
        try:
            return PreTrainedTokenizerFast.from_pretrained(str(directory), clean_up_tokenization_spaces=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{directory} holds a tokenizer that cannot be read ({error}); save it again with save_pretrained") from None
    vocabularies, merges = sorted(directory.glob("*vocab.json")), sorted(directory.glob("*merges.txt"))
    if not vocabularies or not merges:
        found = ", ".join(sorted(p.name for p in directory.iterdir())[:6]) or "nothing"
        raise ModelError(f"{directory} holds no tokenizer (found {found}); a tokenizer.json, or a vocab.json and a merges.txt, is needed")
    try:
        # CodeT5 as released adds <extra_id_99> .. <extra_id_0> behind the 32,000 entries of its files: 32,100 rows in the model
        tokenizer = _wrap(ByteLevelBPETokenizer(str(vocabularies[0]), str(merges[0]), add_prefix_space=False), extra_ids=100)
        around = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<s>", "</s>")]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=around)
        return tokenizer
    except Exception as error:  # the tokenizers library raises plain Exception
        raise ModelError(f"{vocabularies[0]} and {merges[0]} cannot be read as byte-level BPE ({error})") from None


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Write a tokenizer as a Hugging Face directory.

    Raises:
        CoderlError: it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(str(directory))
    except Exception as error:  # the tokenizers library raises plain Exception
        known = system_error(error)
        if known is None:
            raise
        raise CoderlError(write_failure(directory, known)) from None


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Number of ids, special and added tokens included."""
    return len(tokenizer)


class Truncation(NamedTuple):
    """How many prompts and programs were too long, of how many."""

    prompts: int
    programs: int
    of: int


class Example(NamedTuple):
    """One program to train on: prompt ids, program ids with </s>, and one weight per program token (see formulas/coderl.py).

    `key` says which prompt this is: examples with equal keys share one encoder row.
    """

    key: str
    prompt: tuple[int, ...]
    program: tuple[int, ...]
    weights: tuple[float, ...] | None = None
    label: int = 3  # outcome of the program (records.Outcome.label); references pass
    supervised: bool = True  # counts in the cross-entropy term
    old_log_probs: tuple[float, ...] | None = None  # of the actor that drew the program, where a loss needs them
    reference_log_probs: tuple[float, ...] | None = None  # of the model that the actor is held to (PPO)
    old_values: tuple[float, ...] | None = None  # V(s_t) before the actor learnt (PPO)
    value_targets: tuple[float, ...] | None = None  # what the value head is fitted to (PPO)
    repeats: int = 1  # how often the program was drawn, where equal ones are merged and a loss asks
    number: int = -1  # its place among a stage's examples, where the stage keeps more about them than is here


class Batch(NamedTuple):
    """P distinct prompts of at most S tokens, B programs of at most T tokens.

    Shapes: `prompts` (P, S) long, `prompt_mask` (P, S) bool, `row_prompt` (B,) long: which prompt a program answers,
    `labels` (B, T) long with -100 behind the end, `mask` (B, T) bool, `weights` (B, T) float, `outcomes` (B,) long,
    `supervised` (B,) bool, `old_log_probs` and what follows (B, T) float, 0 where they are not known, `repeats` (B,) long,
    `numbers` (B,) long, -1 where there is none.
    """

    prompts: Tensor
    prompt_mask: Tensor
    row_prompt: Tensor
    labels: Tensor
    mask: Tensor
    weights: Tensor
    outcomes: Tensor
    supervised: Tensor
    old_log_probs: Tensor
    reference_log_probs: Tensor
    old_values: Tensor
    value_targets: Tensor
    repeats: Tensor
    numbers: Tensor


def encode_prompt(tokenizer: PreTrainedTokenizerBase, text: str, limit: int, tail: int = 24) -> tuple[tuple[int, ...], bool]:
    """Ids of a prompt, at most `limit`, and whether it was cut. A cut takes out the middle: the last `tail` tokens ("ANSWER:") stay.

    A chat model's prompt is the user's turn (chat.py); what its template puts behind the text stays too, and so does CodeT5's end token: with
    tail 0 these are the ids that the released code generates from. (Its training set's lose the end token to the cut.)
    """
    front, back = surrounding(tokenizer)
    words = chat.request(text) if chat.is_chat(tokenizer) else text
    ids: list[int] = [*front, *tokenizer.encode(words, add_special_tokens=False), *back]
    if len(ids) <= limit:
        return tuple(ids), False
    tail += len(back)
    tail = min(tail, limit // 2)
    return tuple(ids[: limit - tail] + ids[len(ids) - tail :]), True


class Surrounding(NamedTuple):
    """Ids in front of a text and behind it."""

    front: list[int]
    back: list[int]


def surrounding(tokenizer: PreTrainedTokenizerBase) -> Surrounding:
    """Ids around a prompt's text: those that the tokenizer itself puts there (`ends_of`), or a chat model's template.

    Raises:
        ModelError: a chat model without a chat template.
    """
    if not chat.is_chat(tokenizer):
        return ends_of(tokenizer)
    front, back = (tokenizer.encode(text, add_special_tokens=False) for text in chat.around(tokenizer))
    return Surrounding(front, back)


def ends_of(tokenizer: PreTrainedTokenizerBase) -> Surrounding:
    """<s> and </s> for CodeT5's tokenizer, <s> and nothing for Llama's, nothing for GPT-2's and for those made by `train_tokenizer`."""
    bare: list[int] = tokenizer.encode("a", add_special_tokens=False)
    whole: list[int] = tokenizer.encode("a")
    start = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), None)
    if start is None:  # something else happens to a text in there: nothing that could be put around another
        return Surrounding([], [])
    return Surrounding(whole[:start], whole[start + len(bare) :])


def encode_program(tokenizer: PreTrainedTokenizerBase, code: str, limit: int) -> tuple[tuple[int, ...], bool]:
    """Ids of a program with </s> behind, at most `limit`, and whether it was cut (then without </s>). A chat model's is in a code fence; one
    whose tokenizer gives every text a beginning and an end (CodeT5) has the beginning in front of programs too, as it was taught."""
    code = chat.fenced(code) if chat.is_chat(tokenizer) else code
    ends = ends_of(tokenizer)
    front = ends.front if ends.back else []
    # A very long program is cut as text first: no token is longer than its text, and tokenizing 10 MB takes minutes.
    ids: list[int] = [*front, *tokenizer.encode(code[: limit * 64], add_special_tokens=False)]
    if len(ids) < limit and len(code) <= limit * 64:
        return (*ids, tokenizer.eos_token_id), False
    return tuple(ids[:limit]), True


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Text of program ids; special tokens leave nothing behind."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[str, ...]:
    """The text that each token adds; joined they are `decode(ids)`. A character split over tokens shows at its last token."""
    whole = decode(tokenizer, ids)
    alone = tuple(decode(tokenizer, (i,)) for i in ids)
    if "".join(alone) == whole:
        return alone
    texts, shown = [], ""
    for end in range(1, len(ids) + 1):
        so_far = decode(tokenizer, ids[:end])
        if end == len(ids) or not so_far.endswith("\ufffd"):  # half a character waits for its other half
            texts.append(so_far[len(shown) :])
            shown = so_far
        else:
            texts.append("")
    return tuple(texts)


def whole_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], length: int) -> int:
    """The longest prefix of at most `length` tokens whose text is a beginning of the program's: no character is cut in two.

    Byte-level BPE may split a character over tokens; half of one decodes to U+FFFD, which the whole program does not have there.
    """
    whole = decode(tokenizer, ids)
    while length > 0 and not whole.startswith(decode(tokenizer, ids[:length])):
        length -= 1
    return length


def pad(rows: Sequence[Sequence[int]], value: int) -> tuple[Tensor, Tensor]:
    """Rows of ids to a (B, T) long tensor padded with `value` on the right, and its (B, T) bool mask."""
    if not rows:
        raise DataError("a batch needs at least one row")
    lengths = torch.tensor([len(r) for r in rows])
    width = int(lengths.max())
    result = torch.full((len(rows), width), value, dtype=torch.long)
    for i, row in enumerate(rows):
        result[i, : len(row)] = torch.tensor(row, dtype=torch.long)
    return result, length_mask(lengths, width)


def collate(examples: Sequence[Example], pad_id: int) -> Batch:
    """One batch from examples; each distinct prompt (by key) appears once. Rows are in the order of `examples`."""
    place: dict[str, int] = {}
    prompts: list[tuple[int, ...]] = []
    for example in examples:
        if example.key not in place:
            place[example.key] = len(prompts)
            prompts.append(example.prompt)
    prompt_ids, prompt_mask = pad(prompts, pad_id)
    labels, mask = pad([e.program for e in examples], IGNORE)
    return Batch(
        prompts=prompt_ids,
        prompt_mask=prompt_mask,
        row_prompt=torch.tensor([place[e.key] for e in examples]),
        labels=labels,
        mask=mask,
        weights=rows_by_token([e.weights for e in examples], labels.shape),
        outcomes=torch.tensor([e.label for e in examples]),
        supervised=torch.tensor([e.supervised for e in examples]),
        old_log_probs=rows_by_token([e.old_log_probs for e in examples], labels.shape),
        reference_log_probs=rows_by_token([e.reference_log_probs for e in examples], labels.shape),
        old_values=rows_by_token([e.old_values for e in examples], labels.shape),
        value_targets=rows_by_token([e.value_targets for e in examples], labels.shape),
        repeats=torch.tensor([e.repeats for e in examples]),
        numbers=torch.tensor([e.number for e in examples]),
    )


def rows_by_token(rows: Sequence[tuple[float, ...] | None], shape: torch.Size) -> Tensor:
    """(B, T) float, 0 behind the end of a row and in rows that are None."""
    result = torch.zeros(shape)
    for i, row in enumerate(rows):
        if row is not None:
            result[i, : len(row)] = torch.tensor(row)
    return result


def epoch_batches(examples: Sequence[Example], budget: int, seed: int, group: int = 1) -> Iterator[list[Example]]:
    """Every example once, in batches of similar length, batches in random order.

    Args:
        budget: tokens in a batch, padding included: prompts x longest prompt + programs x longest program. A group that alone is
            longer is a batch nevertheless (see `longer_than`).
        seed: order of the batches and of equals within them.
        group: at most so many programs of one prompt lie side by side (they share its encoder row).
    """
    order = random.Random(f"epoch/{seed}")
    by_prompt: dict[str, list[Example]] = {}
    for example in examples:
        by_prompt.setdefault(example.key, []).append(example)
    # noise in the lengths mixes neighbours anew in each epoch, at little cost in padding
    groups: list[tuple[float, list[Example]]] = []
    for members in by_prompt.values():
        members.sort(key=lambda e: len(e.program) * order.uniform(0.85, 1.15))
        for start in range(0, len(members), group):
            part = members[start : start + group]
            shelf = round(6 * math.log(len(part[0].prompt) * order.uniform(0.95, 1.05) + 1))  # prompts within about 17 % of each other
            groups.append((shelf + max(len(e.program) for e in part) * order.uniform(0.9, 1.1) / 1e6, part))
    groups.sort(key=lambda pair: pair[0])
    batches: list[list[Example]] = []
    current: list[Example] = []
    prompts = longest_prompt = longest_program = 0
    for _, members in groups:
        wide, long = max(longest_prompt, len(members[0].prompt)), max([longest_program] + [len(e.program) for e in members])
        if current and (prompts + 1) * wide + (len(current) + len(members)) * long > budget:
            batches.append(current)
            current, prompts = [], 0
            wide, long = len(members[0].prompt), max(len(e.program) for e in members)
        current = current + members
        prompts, longest_prompt, longest_program = prompts + 1, wide, long
    if current:
        batches.append(current)
    order.shuffle(batches)
    yield from batches


def longer_than(examples: Iterable[Example], budget: int) -> int:
    """How many examples are longer, prompt and program together, than a batch may be: each makes a batch that is over the budget."""
    return sum(len(e.prompt) + len(e.program) > budget for e in examples)


def read_json(path: Path) -> Any:
    """A small JSON file of a model directory.

    Raises:
        ModelError: absent or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is absent; a model folder written by coderl or by save_pretrained has it") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error})") from None
