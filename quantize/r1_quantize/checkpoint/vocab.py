"""tokenizer.json and its companions -> the tokenizer.ggml.* keys, as llama.cpp's converter writes them.

The converter's part is in gguf-py's SpecialVocab. How text is split before the merges is in `pretokenizer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gguf.constants import Keys, TokenType

from r1_quantize.checkpoint.architecture import Architecture
from r1_quantize.checkpoint.checkpoint import CheckpointFolder
from r1_quantize.checkpoint.pretokenizer import Pretokenizer, post_processors, recognise
from r1_quantize.errors import BadCheckpoint
from r1_quantize.gguf.metadata import boolean, int32s, string, strings, uint32
from r1_quantize.gguf.reader import Entry
from r1_quantize.gguf.vocabulary import duplicate

_SPECIAL_IDS = {
    # the name in tokenizer_config.json and config.json -> GGUF key, in the order of the keys
    "bos": Keys.Tokenizer.BOS_ID,
    "eos": Keys.Tokenizer.EOS_ID,
    "unk": Keys.Tokenizer.UNK_ID,
    "sep": Keys.Tokenizer.SEP_ID,
    "pad": Keys.Tokenizer.PAD_ID,
    "mask": Keys.Tokenizer.MASK_ID,
}
_ADDITIONS = {"bos": Keys.Tokenizer.ADD_BOS, "eos": Keys.Tokenizer.ADD_EOS, "sep": Keys.Tokenizer.ADD_SEP}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokenizer.ggml.* entries. `notes` say how tokenizer.json was read where that is unusual."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...]


def vocabulary(folder: CheckpointFolder, architecture: Architecture, pretokenizer: str | None = None) -> Vocabulary:
    """The vocabulary of a checkpoint, with unused tokens up to the architecture's `vocab_size`.

    `pretokenizer` overrides what `recognise` finds. Raises BadCheckpoint when tokenizer.json is missing, is not a
    byte-level BPE, has ids beyond that size or two tokens of the same text.
    """
    tokenizer = folder.json("tokenizer.json")
    try:
        pre = Pretokenizer(pretokenizer) if pretokenizer else recognise(tokenizer)
        entries = tuple(_entries(folder, architecture, tokenizer, pre))
    except UnicodeEncodeError as exc:
        raise BadCheckpoint(f"{folder.path}: the tokenizer has text that is not Unicode ({exc.reason})") from exc
    return Vocabulary(entries, (pre.note,) if pre.note else ())


def _entries(
    folder: CheckpointFolder, architecture: Architecture, tokenizer: dict[str, Any], pretokenizer: Pretokenizer
) -> Iterator[Entry]:
    """Raises UnicodeEncodeError when a text has lone surrogates."""
    size = architecture.vocab_size
    config = folder.optional_json("tokenizer_config.json") or {}
    prefixed = config.get("add_prefix_space")
    if architecture.name == "llama" and isinstance(prefixed, bool) and pretokenizer.note is None:
        yield boolean(Keys.Tokenizer.ADD_PREFIX, prefixed)
    yield string(Keys.Tokenizer.MODEL, "gpt2")
    yield string(Keys.Tokenizer.PRE, pretokenizer.name)
    tokens = _tokens(tokenizer, size)
    if problem := duplicate([text.encode() for text, _ in tokens]):
        raise BadCheckpoint(f"tokenizer.json: {problem}, so llama.cpp cannot load it; rename one of them")
    yield strings(Keys.Tokenizer.LIST, [text for text, _ in tokens])
    yield int32s(Keys.Tokenizer.TOKEN_TYPE, [kind for _, kind in tokens])
    yield strings(Keys.Tokenizer.MERGES, _merges(tokenizer))
    added = {token["content"]: token["id"] for token in _added_tokens(tokenizer)}
    for kind, number in _special_ids(config, folder.config, added, size).items():
        yield uint32(_SPECIAL_IDS[kind], number)
    for kind, is_added in _additions(tokenizer, config).items():
        yield boolean(_ADDITIONS[kind], is_added)
    if (template := _chat_template(folder, config)) is not None:
        yield string(Keys.Tokenizer.CHAT_TEMPLATE, template)


def _tokens(tokenizer: dict[str, Any], size: int) -> list[tuple[str, TokenType]]:
    """Text and type of the tokens 0 … size − 1."""
    match tokenizer.get("model"):
        case {"type": "BPE", "vocab": dict(vocab)}:
            pass
        case _:
            raise BadCheckpoint("tokenizer.json: the model is not BPE with a vocabulary")
    tokens = [(f"[PAD{number}]", TokenType.UNUSED) for number in range(size)]
    for text, number in vocab.items():
        tokens[_id_below(number, size, text)] = (text, TokenType.NORMAL)
    for token in _added_tokens(tokenizer):
        tokens[_id_below(token["id"], size, token["content"])] = _typed(token["content"], token.get("special"))
    return tokens


def _typed(text: str, special: object) -> tuple[str, TokenType]:
    looks_special = any(text.startswith("<" + bar) and text.endswith(bar + ">") for bar in "|｜")
    if special is True or looks_special:
        return text, TokenType.CONTROL
    return text.replace("▁", " "), TokenType.USER_DEFINED


def _added_tokens(tokenizer: dict[str, Any]) -> list[dict[str, Any]]:
    added = tokenizer.get("added_tokens", [])
    if not isinstance(added, list):
        raise BadCheckpoint("tokenizer.json: added_tokens is not a list")
    for token in added:
        match token:
            case {"id": int(), "content": str()}:
                continue
        raise BadCheckpoint(f"tokenizer.json: {token!r:.80} is not an added token")
    return added


def _id_below(number: object, size: int, text: str) -> int:
    if type(number) is not int or not 0 <= number < size:
        raise BadCheckpoint(f"tokenizer.json: {text!r:.80} has the id {number!r:.20}, but vocab_size is {size:,}")
    return number


def _merges(tokenizer: dict[str, Any]) -> list[str]:
    """The merges in the old form, "left right". The new form has pairs, whose parts may hold spaces."""
    merges = tokenizer["model"].get("merges")
    if not isinstance(merges, list) or not merges:
        raise BadCheckpoint("tokenizer.json: no merges; llama.cpp needs at least one")
    if all(isinstance(merge, str) for merge in merges):
        return merges
    if all(isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair) for pair in merges):
        return [" ".join(part.replace(" ", "Ġ") for part in pair) for pair in merges]
    raise BadCheckpoint("tokenizer.json: the merges are neither strings nor pairs")


def _special_ids(config: dict[str, Any], model: dict[str, Any], added: dict[str, int], size: int) -> dict[str, int]:
    """Kind -> id of a special token, by its text in tokenizer_config.json, else by its number in config.json."""
    ids: dict[str, int] = {}
    for kind in _SPECIAL_IDS:
        if (text := _special_text(config, kind)) in added:
            ids[kind] = added[text]
    for kind in _SPECIAL_IDS:
        number = model.get(f"{kind}_token_id")
        if type(number) is int and kind not in ids:
            ids[kind] = _id_below(number, size, f"{kind}_token_id")
    return ids


def _special_text(config: dict[str, Any], kind: str) -> str:
    """The text of a special token in tokenizer_config.json; empty when there is none of that kind."""
    token = config.get(f"{kind}_token")
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""


def _additions(tokenizer: dict[str, Any], config: dict[str, Any]) -> dict[str, bool]:
    """Which of bos, eos and sep are added to a text: by the post-processor, else by tokenizer_config.json."""
    additions: dict[str, bool] = {}
    for step in post_processors(tokenizer):
        match step:
            case {"type": "ByteLevel"}:
                additions.setdefault("bos", False)
                additions.setdefault("eos", False)
            case {"type": "TemplateProcessing", "single": [*single], "pair": [*pair]}:
                additions |= _template_additions(_pieces(single), _pieces(pair), config)
    for kind in ("bos", "eos", "sep"):
        if isinstance(is_added := config.get(f"add_{kind}_token"), bool):
            additions.setdefault(kind, is_added)
    return additions


def _template_additions(single: list[str | None], pair: list[str | None], config: dict[str, Any]) -> dict[str, bool]:
    """The tokens a TemplateProcessing step adds around one text, and between two."""
    first, last = (single[0], single[-1]) if len(single) > 1 else (None, None)
    additions = {kind: True for kind, token in (("bos", first), ("eos", last)) if token}
    if first and pair[:1] == [first]:
        pair = pair[1:]
    if last and pair[-1:] == [last]:
        pair = pair[:-1]
    between = pair[1:-1]
    if between and pair[0] is None and pair[-1] is None:
        separators = (_special_text(config, "sep"), _special_text(config, "eos"))
        additions["sep"] = bool((between[0] in separators and not last) or (between[1:] and between[1] in separators))
    return additions


def _pieces(template: list[Any]) -> list[str | None]:
    """The parts of a template: the text of a special token, or None for the user's text."""
    pieces: list[str | None] = []
    for piece in template:
        match piece:
            case {"SpecialToken": {"id": str(token)}}:
                pieces.append(token)
            case {"Sequence": {"id": "A" | "B"}}:
                pieces.append(None)
            case _:
                raise BadCheckpoint(f"tokenizer.json: {piece!r:.80} is not a template piece")
    return pieces


def _chat_template(folder: CheckpointFolder, config: dict[str, Any]) -> str | None:
    """The Jinja template, from tokenizer_config.json or else from a separate file."""
    template = config.get("chat_template")
    if template is None:
        template = folder.optional_text("chat_template.jinja")
    if template is None:
        template = (folder.optional_json("chat_template.json") or {}).get("chat_template")
    if isinstance(template, list):
        defaults = (entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default")
        template = next(defaults, {}).get("template")
    return template if isinstance(template, str) and template else None
