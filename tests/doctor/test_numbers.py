"""The numbers in findings, against closed forms and tables that are computed without the package's schemes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rope_scaling.doctor import RULES, Facts
from rope_scaling.doctor.engines import attention_factors, served_lengths
from rope_scaling.doctor.finding import Symptom
from tests.doctor.cases import GEMMA, LLAMA, LLAMA3, LLAMA_31, LONGROPE, PAIRS, YARN, gguf, llama, nested, of, scaled
from tests.doctor.cases import with_frequencies as weights_of
from tests.papers import by_the_papers

DIM = 2 * PAIRS


def only(code: str, facts: Facts) -> Symptom:
    """The one symptom of a rule."""
    (found,) = next(rule for rule in RULES if rule.code == code).findings(facts)
    return found.symptom


def widest(one: list[float], other: list[float]) -> tuple[float, int]:
    ratios = [max(a / b, b / a) for a, b in zip(one, other, strict=True)]
    return max(ratios), ratios.index(max(ratios))


def papers(parameters: dict[str, Any], **config: Any) -> list[float]:
    whole = {"head_dim": DIM, "max_position_embeddings": 16384, "rope_parameters": {"rope_theta": 1e4} | parameters}
    return by_the_papers(whole | config, whole["rope_parameters"] | config.get("rope_parameters", {}))[0]


def test_a_missing_original_length_is_off_by_the_two_ramps() -> None:
    told = only("scaled-without-original", of(scaled({"rope_type": "yarn", "factor": 4.0})))
    taken, meant = (papers(YARN | {"original_max_position_embeddings": length}) for length in (16384, 4096))
    ratio, pair = widest(taken, meant)
    assert told.evidence["ratio"] == pytest.approx(ratio, rel=1e-9)
    assert told.evidence["pair"] == pair
    assert f"{ratio:.3g}× at pair {pair}" in told.consequence
    assert told.evidence["if trained to"] == 4096


def test_a_missing_original_length_of_llama3_too() -> None:
    said = {key: value for key, value in LLAMA3.items() if key != "original_max_position_embeddings"}
    told = only("scaled-without-original", of(LLAMA_31 | {"rope_scaling": said}))
    theta = {"rope_theta": 5e5}
    taken, meant = (
        papers(LLAMA3 | theta | {"original_max_position_embeddings": length}) for length in (131072, 131072 // 8)
    )
    assert told.evidence["ratio"] == pytest.approx(widest(taken, meant)[0], rel=1e-9)


def test_the_interpolated_pairs_stand_past_the_trained_angle_by_what_is_missing_of_the_factor() -> None:
    told = only("max-length-factor", of(scaled(YARN, 32768)))  # factor 4 of 4096, and 32768
    assert "2 times the largest angle" in told.consequence
    assert told.evidence["length in vllm"] == 16384
    assert told.evidence["length in transformers"] == told.evidence["length in sglang"] == 32768
    assert "squeezed for 16384 tokens, 2 times" in only("max-length-factor", of(scaled(YARN, 8192))).consequence


def test_dynamic_that_is_silenced_is_too_fast_by_its_own_formula() -> None:
    told = only(
        "dynamic-silenced",
        of(scaled({"rope_type": "dynamic", "factor": 4.0, "original_max_position_embeddings": 4096})),
    )
    # theta · (f·T/L − (f−1))^(d/(d−2)) at the last pair, theta^(−(d−2)/d): f·T/L − (f−1) = 4·4 − 3
    assert f"13× at pair {PAIRS - 1}" in told.consequence


def test_an_ignored_theta_is_off_most_at_the_last_pair() -> None:
    told = only("theta-ignored", of(llama(rope_theta=5e5, rope_parameters={"rope_theta": 1e4})))
    assert f"{50 ** ((DIM - 2) / DIM):.3g}× at pair {PAIRS - 1}" in told.consequence


def test_deepseeks_mscale_alone_is_read_as_137_or_126() -> None:
    said = {"type": "yarn", "factor": 40, "mscale": 0.707, "original_max_position_embeddings": 4096}
    config = scaled(said, 163840, model_type="deepseek_v2", qk_rope_head_dim=64, qk_nope_head_dim=128)
    told = only("mscale-alone", of(config))
    assert told.evidence["transformers"] == pytest.approx(0.1 * math.log(40) + 1)
    assert told.evidence["vllm"] == pytest.approx(0.1 * 0.707 * math.log(40) + 1)
    assert "1.261" in told.consequence
    assert "1.369" in told.consequence


def test_engines_multiply_replace_or_ignore_an_attention_factor() -> None:
    plain = 0.1 * math.log(4) + 1
    facts = of(scaled(YARN | {"attention_factor": 1.3, "attn_factor": 2.0}))
    told = attention_factors(facts, facts.parameters[0], 4.0)
    expected = {
        "transformers": 1.3,
        "vllm": 1.3,
        "vllm before it read attention_factor": 2 * plain,
        "sglang": 2 * plain,
        "tgi": plain,
        "llama.cpp": plain,
    }
    assert told == pytest.approx(expected)
    both = of(scaled(YARN | {"mscale": 2.0, "mscale_all_dim": 1.0}))
    pair = (0.2 * math.log(4) + 1) / plain
    told = attention_factors(both, both.parameters[0], 4.0)
    assert [told[name] for name in ("transformers", "vllm", "sglang", "tgi")] == pytest.approx([pair] * 4)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (YARN, {"transformers": 16384, "vllm": 16384, "sglang": 16384}),
        ({"rope_type": "linear", "factor": 2.0}, {"transformers": 16384, "vllm": 32768, "sglang": 32768}),
        (LLAMA3, {"transformers": 16384, "vllm": 16384, "sglang": 16384}),
        (LONGROPE, {"transformers": 16384, "vllm": 4096, "sglang": 16384}),
        ({"rope_type": "yarn", "factor": 4.0}, {"transformers": 16384, "vllm": 65536, "sglang": 65536}),
    ],
)
def test_engines_serve_different_lengths(parameters: dict[str, Any], expected: dict[str, int]) -> None:
    facts = of(scaled(parameters))
    assert served_lengths(facts, facts.parameters[0]) == expected


def test_vllm_does_not_multiply_gemma3s_length() -> None:
    facts = of(GEMMA | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}})
    assert served_lengths(facts, facts.parameters[0])["vllm"] == 16384


@pytest.mark.parametrize("option", [{"beta_fast": 16.0}, {"beta_slow": 2.0}, {"truncate": False}])
def test_yarns_options_are_off_by_what_they_change(option: dict[str, Any]) -> None:
    told = only("yarn-options", of(scaled(YARN | option)))
    ratio, pair = widest(papers(YARN | option), papers(YARN))
    assert told.evidence["ratio"] == pytest.approx(ratio, rel=1e-9)
    assert told.evidence["pair"] == pair


def test_a_nested_truncate_is_off_by_what_rounding_changes() -> None:
    told = only("nested-truncate", of(nested(False)))
    theta = {"rope_theta": 1e6}
    ratio, _ = widest(papers(YARN | theta | {"truncate": False}), papers(YARN | theta))
    assert told.evidence["ratio"] == pytest.approx(ratio, rel=1e-9)


def test_cached_keys_lie_as_far_off_as_the_lists_are_apart() -> None:
    told = only("cache-crosses-switch", of(scaled(LONGROPE | {"long_factor": [2.0] * PAIRS})))
    # pair 0 turns by 1 radian a token under short_factor, half of that under long_factor
    assert told.evidence["turns"] == pytest.approx(4096 / 2 / (2 * math.pi))


def test_double_scaling_is_measured_against_what_was_trained() -> None:
    said = YARN | {"original_max_position_embeddings": 32768}
    told = only("double-scaling", of(LLAMA_31 | {"rope_scaling": said}))
    theta = {"rope_theta": 5e5}
    ratio, pair = widest(papers(said | theta), papers(LLAMA3 | theta))
    assert f"{ratio:.3g}× at pair {pair}" in told.consequence


@pytest.mark.parametrize("original", [8192, 4096])
def test_llama_3_that_is_scaled_from_its_own_length_is_not_taken_for_llama_31(original: int) -> None:
    config = LLAMA_31 | {"rope_scaling": YARN | {"original_max_position_embeddings": original}}
    assert next(rule for rule in RULES if rule.code == "double-scaling").findings(of(config)) == []


def test_frequencies_in_the_weights_tell_their_theta() -> None:
    told = only("inv-freq-in-weights", weights_of(5e5))
    assert told.evidence["theta"] == pytest.approx(5e5, rel=1e-6)
    assert told.evidence["ratio"] == pytest.approx(50 ** ((DIM - 2) / DIM))
    assert told.evidence["pair"] == PAIRS - 1


def test_a_gguf_files_theta_is_off_most_at_the_last_pair() -> None:
    told = only("gguf-config", gguf(LLAMA, rope__freq_base=2e4))
    assert f"{2 ** ((DIM - 2) / DIM):.3g}×" in told.consequence


def test_a_gguf_file_without_llama3s_tensor_is_off_by_its_factor() -> None:
    config = LLAMA_31 | {"rope_scaling": LLAMA3}
    told = only("gguf-no-factors", gguf(config, context_length=131072, rope__freq_base=5e5))
    assert "up to 8×" in told.consequence


def test_a_factor_below_one_is_told_by_its_inverse() -> None:
    told = only("factor-below-one", of(scaled({"rope_type": "linear", "factor": 0.25})))
    assert "4× faster" in told.consequence
    assert told.mend.endswith("to 4")


def test_a_window_reaches_as_far_as_its_layers_carry_it() -> None:
    told = only("sliding-window", of(scaled(YARN, model_type="mistral", sliding_window=1024)))
    assert "4096 tokens back cannot be reached" in told.consequence  # 4 layers of 1024
