"""Rules about checkpoints that were scaled in training, or by this library, and scaled or edited again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rope_scaling.config import read_rope
from rope_scaling.doctor.facts import Facts, Parameters
from rope_scaling.doctor.finding import Rule, Severity, Symptom
from rope_scaling.doctor.ropes import plain_rope, tabled, widest_change
from rope_scaling.extend.kindred import kindred
from rope_scaling.record import RECORD, PatchRecord, read_record
from rope_scaling.rope import Rope
from rope_scaling.schemes import Llama3, Scheme, YaRN, is_remap


@dataclass(frozen=True)
class Trained:
    """The scaling that a published family was trained with.

    Attributes:
        family: What it is called.
        shape: Keys of the config that tell it from others.
        rope_types: What its `rope_type` may be.
        original: The length before scaling, in tokens.
        scheme: The scaling itself.
    """

    family: str
    shape: Mapping[str, Any]
    rope_types: tuple[str, ...]
    original: int
    scheme: Scheme

    def fits(self, facts: Facts) -> bool:
        """Whether a config has these shapes, and the length of the scaled model or of a longer one."""
        told = {
            key: facts.theta(facts.parameters[0]) if key == "rope_theta" else facts.config.get(key)
            for key in self.shape
        }
        return told == dict(self.shape) and (facts.max_length or 0) > 2 * self.original

    def is_lost(self, facts: Facts, one: Parameters) -> bool:
        """Whether parameters of such a checkpoint do not say what it was trained with.

        Whoever scales over the unscaled length may have started from a checkpoint of the same shapes before that
        scaling was trained in: Llama 3 is to Llama 3.1.
        """
        declared, factor = facts.max_length or 0, one.number("factor") or 1.0
        length = facts.original(one) or (declared / factor if one.rope_type in ("linear", "dynamic") else declared)
        return length > self.original


_SAME = 1e-4

# Published config.json files: meta-llama/Llama-3.1-8B, -3.2-3B; deepseek-ai/DeepSeek-V3; openai/gpt-oss-20b. Llama 3
# without scaling has the same vocabulary and theta and 8192 tokens; longer ones than 3.2's small models have factor 8.
TRAINED = (
    Trained(
        "Llama 3.1 and 3.3",
        {"model_type": "llama", "vocab_size": 128256, "rope_theta": 5e5, "tie_word_embeddings": False},
        ("llama3",),
        8192,
        Llama3(8.0),
    ),
    Trained(
        "Llama 3.2",
        {"model_type": "llama", "vocab_size": 128256, "rope_theta": 5e5, "tie_word_embeddings": True},
        ("llama3",),
        8192,
        Llama3(32.0),
    ),
    Trained(
        "DeepSeek V3",
        {"model_type": "deepseek_v3", "rope_theta": 1e4, "hidden_size": 7168},
        ("yarn", "deepseek_yarn"),
        4096,
        YaRN(40.0),
    ),
    Trained(
        "gpt-oss",
        {"model_type": "gpt_oss", "rope_theta": 1.5e5, "hidden_size": 2880},
        ("yarn",),
        4096,
        YaRN(32.0, truncate=False),
    ),
)


def _double(facts: Facts) -> Iterator[Symptom]:
    if facts.patched:
        return  # the record knows what it was scaled from
    for one in facts.parameters:
        family = next((each for each in TRAINED if each.fits(facts)), None)
        if family is None or not family.is_lost(facts, one):
            continue
        rope = plain_rope(facts, one, family.original)
        trained = None if rope is None else tabled(partial(_same, family.scheme), rope)
        now = _declared(facts, one)
        known = (
            ""
            if trained is None or now is None or len(now.inv_freq) != len(trained.inv_freq)
            else (f": frequencies are up to {widest_change(now.inv_freq, trained.inv_freq).told} from the trained ones")
        )
        yield Symptom(
            seen=f"the shapes are those of {family.family}, trained with {family.rope_types[0]} over {family.original} "
            f"tokens; the config says {one.rope_type!r}"
            + (f" over {facts.original(one)} tokens" if facts.original(one) else ""),
            consequence=f"The scaling that it was trained with is gone, or scaled over{known}.",
            mend=f"put back the rope parameters that were published; then scale on top of them: rope-scaling extend "
            f"{facts.source} --scheme yarn --factor 2 --on-scaled compose -o OUT",
            evidence={"family": family.family, "rope_type": one.rope_type},
        )


def _same(scheme: Scheme) -> Scheme:
    return scheme


def _declared(facts: Facts, one: Parameters) -> Rope | None:
    try:
        return read_rope(facts.config if facts.resolved is None else facts.resolved, one.layer_type)
    except (TypeError, ValueError, OverflowError):
        return None


def _edited(facts: Facts) -> Iterator[Symptom]:
    if not facts.patched:
        return
    try:
        record = read_record(facts.config)
        assert record is not None
        scheme = record.make_scheme()
    except (ValueError, TypeError, AttributeError) as error:
        yield _unreadable(str(error))
        return
    now = {key: value for key, value in facts.config.items() if key != RECORD}
    for one in facts.parameters:
        scaled = not record.layer_types or one.layer_type in record.layer_types
        if not scaled or not record.native:
            continue
        try:
            meant = scheme(_start(facts, one, record))
            written = read_rope(now, one.layer_type)
        except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
            yield _unreadable(str(error))
            continue
        change = widest_change(meant.inv_freq, written.inv_freq)
        if change.ratio > 1 + _SAME or len(meant.inv_freq) != len(written.inv_freq):
            yield Symptom(
                seen=f"{RECORD} says {record.scheme} {record.options}, and {one.where} says otherwise",
                consequence=f"The config was edited after it was patched. Its frequencies are up to {change.told} from "
                "those of the record, and undoing the patch gives the frequencies before both.",
                mend=f"remove {RECORD} to keep the edit, or write it anew: rope-scaling extend",
                evidence={"ratio": change.ratio, "pair": change.pair},
            )


def _plugin_only(facts: Facts) -> Iterator[Symptom]:
    record = facts.config.get(RECORD)
    if not isinstance(record, Mapping) or record.get("native", True) is not False:
        return
    length, options = record.get("original_max_position_embeddings"), record.get("options")
    over = options.get("over") if isinstance(options, Mapping) else None
    how = f"with {over} alone" if over else f"unscaled, for {length} tokens"
    yield Symptom(
        seen=f"{RECORD} says {record.get('scheme')}, which no rope_parameters can say",
        consequence=f"Whatever loads this checkpoint reads it {how}, until the record is applied.",
        mend="patch_model(model) after loading; for an engine write a static scheme: rope-scaling extend CHECKPOINT "
        "--scheme yarn --factor 4 -o OUT",
        engines=dict.fromkeys(("transformers", "vllm", "sglang", "llama.cpp"), "ignores the record")
        | {engine: f"ignores the record; nearest: {how}" for engine, how in _kindred(facts).items()},
        evidence={"scheme": str(record.get("scheme"))},
    )


def _kindred(facts: Facts) -> dict[str, str]:
    """What engines with a remap of their own are to be told of a remap scheme in the record."""
    try:
        record = read_record(facts.config)
        assert record is not None
        scheme = record.make_scheme()
        if not is_remap(scheme):
            return {}
        return kindred(scheme, _start(facts, facts.parameters[0], record), facts.model_type)
    except (TypeError, ValueError, IndexError):  # told by another rule
        return {}


def _start(facts: Facts, one: Parameters, record: PatchRecord) -> Rope:
    """What a record's scheme started from; the reader gives a config with a record as it was before."""
    rope, length = read_rope(facts.config, one.layer_type), record.original_max_position_embeddings
    if record.on_scaled == "compose":
        return Rope(rope.inv_freq, rope.theta, rope.rotary_dim, rope.head_dim, length, rope.attention_factor)
    return Rope.plain(rope.theta, rope.rotary_dim, length, head_dim=rope.head_dim)


def _unreadable(error: str) -> Symptom:
    return Symptom(
        seen=f"{RECORD} of the config cannot be used: {error}",
        consequence="What was scaled, and from what, is not known: neither undoing nor patching again is safe.",
        mend=f"remove {RECORD} to take rope_parameters as the checkpoint's own",
        severity=Severity.ERROR,
    )


RULES = (
    Rule(
        "double-scaling",
        Severity.WARNING,
        "A family that was trained with a scaling says another one, or none.",
        "Somebody replaced the trained scaling (`rope_scaling` is one dict: writing yarn into it removes llama3), so "
        "the frequencies are neither the trained ones nor those scaled. Told by the shapes of Llama 3.1-3.3, DeepSeek "
        "V3 and gpt-oss.",
        _double,
    ),
    Rule(
        "record-edited",
        Severity.ERROR,
        "The rope parameters were edited after this library patched the checkpoint.",
        "`unpatch_model` and a second patch go by the record.",
        _edited,
    ),
    Rule(
        "record-only",
        Severity.NOTE,
        "This library patched the checkpoint in a way that only this library can apply.",
        "Scaling that follows the length of each text (`dynamic-yarn`), remapped positions (`self-extend`) and scaled "
        "tables (GPT-J) have no words in a config; the record keeps them.",
        _plugin_only,
    ),
)
