import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import rope_scaling.eval.fetch
import rope_scaling.eval.harness
from rope_scaling.cli import app
from tests.eval.tiny import TRAINED, tiny_checkpoint, tiny_llama
from tests.patches.gguf_file import write_gguf

runner = CliRunner()


def call(*arguments: object) -> Result:
    return runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(chr(97 + i * i % 26) for i in range(700)))
    return path


def test_version_is_printed() -> None:
    assert re.fullmatch(r"rope-scaling \d+\.\d+\.\d+\S*\n", call("--version").output)


def test_help_names_every_command() -> None:
    output = call("--help").output
    assert all(
        command in output for command in ("inspect", "extend", "report", "plot", "fetch", "eval", "lm-eval", "demo")
    )


def test_eval_prints_a_table_and_writes_a_record(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    schemes = ("--scheme", "none", "--scheme", "linear:factor=2")
    lengths = f"16,{TRAINED},{TRAINED + 640}"
    done = call("eval", checkpoint, "--text", text, *schemes, "--lengths", lengths, "--stride", 8, "-o", run)
    assert done.exit_code == 0, done.output
    assert all(part in done.stdout for part in ("16-32", "linear:factor=2", "window", "Rule:", str(run.name)))
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80  # but for the path of the record
    record = json.loads(run.read_text())
    assert [row["scheme"] for row in record["rows"]] == ["none", "linear:factor=2", "window"]
    assert [part["tokens"] for part in record["rows"][0]["bins"]] == [15, 16, 640]
    assert [len(blocks) for blocks in record["rows"][0]["block_nll"]] == [(TRAINED + 640) // 64]
    assert record["rows"][1]["versus_window"]["verdict"]
    assert record["text"]["tokens"] == TRAINED + 640
    assert record["window"]["stride"] == 8
    assert record["checkpoint"]["original_max_position_embeddings"] == TRAINED


def test_eval_scores_several_stretches_of_a_text(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    def record(file: str, *options: object) -> dict[str, Any]:
        run = tmp_path / file
        done = call("eval", checkpoint, "--lengths", f"{TRAINED},100", *options, "--stride", 8, "-o", run)
        assert done.exit_code == 0, done.output
        return json.loads(run.read_text())

    both = record("both.json", "--text", text, "--texts", 2, "--batch-size", 2)
    second = tmp_path / "second.txt"
    second.write_text(text.read_text()[100:])
    parts = [record("one.json", "--text", text), record("two.json", "--text", second)]
    assert (both["text"]["texts"], both["text"]["tokens"]) == (2, 100)
    for row, *alone in zip(both["rows"], *(part["rows"] for part in parts), strict=True):
        assert [len(row["block_nll"]), row["bins"][0]["tokens"]] == [2, 2 * (TRAINED - 1)]
        expected = [value for one in alone for blocks in one["block_nll"] for value in blocks]
        assert [value for blocks in row["block_nll"] for value in blocks] == pytest.approx(expected, abs=1e-5)


def test_every_stretch_begins_as_the_tokenizer_begins_a_text(tmp_path: Path, text: Path) -> None:
    folder, run = tiny_checkpoint(tmp_path / "bos", bos=True), tmp_path / "run.json"
    done = call("eval", folder, "--text", text, "--texts", 3, "--lengths", "16,32", "--no-window", "-o", run)
    assert done.exit_code == 0, done.output
    model, ids = tiny_llama(), [3 + ord(letter) - 32 for letter in text.read_text()]
    stretches = torch.tensor([[1, *ids[start : start + 31]] for start in (0, 31, 62)])
    with torch.no_grad():
        logits = model(stretches).logits[:, :-1]
    nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), stretches[:, 1:])
    (row,) = json.loads(run.read_text())["rows"]
    mean = sum(part["tokens"] * math.log(part["perplexity"]) for part in row["bins"]) / (3 * 31)
    assert mean == pytest.approx(nll.item(), abs=1e-5)


def test_eval_says_when_the_text_is_too_short_for_all_stretches(checkpoint: Path, text: Path) -> None:
    done = call("eval", checkpoint, "--text", text, "--texts", 8, "--lengths", "100")
    assert done.exit_code == 1
    assert "text.txt has 700 tokens, but --lengths asks for 8 times 100" in done.output


def test_eval_refuses_to_replace_a_record_before_any_work(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    run.write_text("precious")
    done = call("eval", "no such checkpoint", "--text", text, "--lengths", "16", "-o", run)
    assert done.exit_code == 1
    assert "exists: choose another name, or pass --force" in done.stderr
    assert run.read_text() == "precious"
    assert call("eval", checkpoint, "--text", text, "--lengths", "16", "-o", run, "--force").exit_code == 0
    assert json.loads(run.read_text())["lengths"] == [16]


def test_a_text_too_short_tells_how_many_tokens_it_has(checkpoint: Path, text: Path) -> None:
    done = call("eval", checkpoint, "--text", text, "--lengths", "1k")
    assert done.exit_code == 1
    assert "text.txt has 700 tokens, but --lengths asks for 1024" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scheme", "nkt"), "did you mean 'ntk'"),
        (("--lengths", "2k,1k"), "lengths must rise"),
        (("--no-window", "--chunk", "0", "--lengths", "16"), "chunk must be at least 1"),
        (("--text", "absent.txt"), "rope-scaling fetch paradise-lost"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    checkpoint: Path, text: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = call("eval", checkpoint, "--text", text, "--lengths", "16", *arguments)
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_a_text_that_is_not_utf8_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 9)
    done = call("eval", checkpoint, "--text", tmp_path / "latin.txt", "--lengths", "16")
    assert "is not UTF-8 text" in done.stderr


def test_within_the_trained_length_there_is_no_verdict(checkpoint: Path, text: Path) -> None:
    assert "No verdict" in call("eval", checkpoint, "--text", text, "--lengths", "16,32").stdout


def test_a_passkey_is_asked_of_every_scheme_without_truncation(checkpoint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    schemes = ("--scheme", "none", "--scheme", "ntk:factor=32")
    done = call("eval", checkpoint, *schemes, "--passkey", "600,700", "-o", run)
    assert done.exit_code == 0, done.output
    assert "passkeys found" in done.stdout
    record = json.loads(run.read_text())
    assert set(record["passkey"]) == {"none", "ntk:factor=32"}
    for result in record["passkey"].values():
        assert [row["length"] for row in result["accuracy"]] == [600, 700]
        assert [row["samples"] for row in result["accuracy"]] == [5, 5]
        assert result["truncated_requests"] == {}
    assert record["passkey"]["ntk:factor=32"]["rope"]["factor"] == 32


def test_nothing_to_measure_is_said(checkpoint: Path, text: Path) -> None:
    assert "nothing to measure" in call("eval", checkpoint).stderr
    assert "--text and --lengths go together" in call("eval", checkpoint, "--text", text).stderr
    assert "at least 1" in call("eval", checkpoint, "--passkey", "600", "--passkey-samples", "0").stderr


def test_windows_keep_the_token_that_a_text_begins_with(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    begins = tiny_checkpoint(tmp_path / "checkpoint", bos=True)
    assert call("eval", begins, "--text", text, "--lengths", "16,64", "-o", run).exit_code == 0
    assert json.loads(run.read_text())["window"]["keeps_bos"] is True


def test_inspect_tells_what_the_rope_is(checkpoint: Path) -> None:
    done = call("inspect", checkpoint)
    assert done.exit_code == 0, done.output
    assert all(part in done.stdout for part in ("RoPE of llama", f"{TRAINED} tokens", "8 / 8", "default"))
    assert "new angles" not in done.stdout


def test_inspect_tells_what_each_scheme_would_do(checkpoint: Path) -> None:
    done = call("inspect", checkpoint, "--max-length", "1k")
    assert all(part in done.stdout for part in ("at 1024 tokens", "yarn", "ntk", "linear", "new angles")), done.output


def scaled(checkpoint: Path, place: Path, **parameters: object) -> Path:
    """A copy of the checkpoint whose config has these rope_parameters."""
    copy = shutil.copytree(checkpoint, place)
    config = json.loads((copy / "config.json").read_text())
    config["rope_parameters"] |= parameters
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_inspect_exits_with_1_for_warnings_and_2_for_errors(checkpoint: Path, tmp_path: Path) -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": TRAINED}
    warned = call("inspect", scaled(checkpoint, tmp_path / "warned", **yarn))
    assert (warned.exit_code, "warning max-length-factor" in warned.stdout) == (1, True), warned.output
    wrong = call("inspect", scaled(checkpoint, tmp_path / "wrong", **yarn, attention_factor="much"))
    assert (wrong.exit_code, "error bad-number" in wrong.stdout) == (2, True), wrong.output
    assert wrong.stderr == ""


def test_inspect_is_content_once_its_edit_is_made(checkpoint: Path, tmp_path: Path) -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": TRAINED}
    broken = scaled(checkpoint, tmp_path / "broken", **yarn)
    (found,) = json.loads(call("inspect", broken, "--max-length", str(4 * TRAINED), "--json").stdout)["findings"]
    assert found["code"] == "max-length-factor"
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4 * TRAINED}))
    assert call("inspect", broken).exit_code == 0


def test_inspect_prints_json_and_nothing_else(checkpoint: Path) -> None:
    done = call("inspect", checkpoint, "--json", "--max-length", "1k")
    report = json.loads(done.stdout)
    assert (report["exit_code"], report["findings"], report["max_position_embeddings"]) == (0, [], TRAINED)
    assert [rope["rotary_dim"] for rope in report["ropes"]] == [8]
    assert {one["scheme"] for one in report["forecasts"]} >= {"none", "linear", "ntk", "yarn"}


def test_inspect_says_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    done = call("inspect", tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "config.json is no JSON" in done.stderr


def test_inspect_probes_a_loaded_checkpoint(checkpoint: Path) -> None:
    done = call("inspect", checkpoint, "--probe")
    assert done.exit_code == 0, done.output
    assert all(part in done.stdout for part in ("laws of RoPE", "queries and keys", "nothing failed"))


def test_inspect_fails_where_config_and_weights_disagree(checkpoint: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(checkpoint, tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"head_dim": config["head_dim"] // 2}))
    assert "error head-dim-weights" in call("inspect", broken).stdout
    done = call("inspect", broken, "--probe")
    assert done.exit_code == 2
    assert "FAIL" in done.stdout


def test_inspect_reads_a_text_only_to_probe(checkpoint: Path, text: Path) -> None:
    assert "read by --probe" in call("inspect", checkpoint, "--text", text).stderr
    assert "give one of them" in call("inspect", checkpoint, "--probe", "--json").stderr


def test_plot_writes_a_page(checkpoint: Path, tmp_path: Path) -> None:
    page = tmp_path / "rope.html"
    done = call("plot", checkpoint, "--scheme", "ntk:factor=4", "-o", page)
    assert (done.exit_code, done.stdout) == (0, f"wrote {page}\n"), done.output
    assert "ntk" in page.read_text(encoding="utf-8")
    assert "exists" in call("plot", checkpoint, "-o", page).stderr


def test_extend_writes_a_checkpoint_and_says_how_to_serve_it(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "long"
    done = call("extend", checkpoint, "--scheme", "yarn", "--max-length", 4 * TRAINED, "--for", "all", "-o", out)
    assert done.exit_code == 0, done.output
    assert f"{TRAINED} -> {4 * TRAINED} tokens (yarn, factor 4.0)" in done.stdout
    assert f"vllm: vllm serve {out} --max-model-len {4 * TRAINED}\n" in done.stdout
    assert f"  or the source itself: vllm serve {checkpoint} --hf-overrides " in done.stdout
    assert "tgi: no: its code for llama was not checked" in done.stdout
    assert json.loads((out / "config.json").read_text())["max_position_embeddings"] == 4 * TRAINED


def test_extend_undoes_what_it_did(checkpoint: Path, tmp_path: Path) -> None:
    assert call("extend", checkpoint, "--scheme", "ntk:factor=4", "-o", tmp_path / "long").exit_code == 0
    done = call("extend", tmp_path / "long", "--undo", "-o", tmp_path / "back")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "back" / "config.json").read_bytes() == (checkpoint / "config.json").read_bytes()


def test_extend_tells_mistakes_and_writes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "long"
    told = {
        ("--scheme", "nkt"): "did you mean 'ntk'",
        (): "give either --scheme, such as yarn:factor=4, or --undo",
        ("--scheme", "yarn", "--undo"): "give either --scheme",
        ("--scheme", "ntk-by-parts", "--for", "sglang"): "sglang cannot serve this: its longrope",
        ("--scheme", "yarn", "--factor", "2", "--max-length", "1k"): "contradicting factors",
        ("--undo",): "has no rope_scaling.json",
    }
    for arguments, message in told.items():
        done = call("extend", checkpoint, *arguments, "-o", out)
        assert (done.exit_code, done.stdout) == (1, "")
        assert message in done.stderr
        assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_extend_copies_a_gguf_file_with_other_metadata(tmp_path: Path) -> None:
    write_gguf(tiny_llama(), tmp_path / "plain.gguf", "F32")
    out = tmp_path / "long.gguf"
    done = call("extend", tmp_path / "plain.gguf", "--scheme", "yarn:factor=4", "-o", out)
    assert done.exit_code == 0, done.output
    assert f"llama.cpp: llama-server -m {out} -c {4 * TRAINED}\n" in done.stdout
    flags = f"--rope-scaling yarn --rope-scale 4.0 --yarn-orig-ctx {TRAINED} -c {4 * TRAINED}"
    assert f"  or the source itself: llama-server -m {tmp_path / 'plain.gguf'} {flags}\n" in done.stdout
    refused = call("extend", out, "--scheme", "yarn", "--for", "vllm", "-o", tmp_path / "no.gguf")
    assert "a GGUF file is for llama.cpp: leave out vllm" in refused.stderr
    assert call("extend", out, "--undo", "-o", tmp_path / "back.gguf").exit_code == 0
    assert (tmp_path / "back.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes()


def test_fetch_prints_the_path_and_nothing_else_on_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, say: rope_scaling.eval.fetch.Say) -> Path:
        say("downloading")
        return Path("/cache") / name

    monkeypatch.setattr(rope_scaling.eval.fetch, "fetch", fetch)
    done = call("fetch", "smollm2")
    assert (done.stdout, done.stderr) == ("/cache/smollm2\n", "downloading\n")


def test_fetch_suggests_a_name() -> None:
    done = call("fetch", "smolm2")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "did you mean 'smollm2'?" in done.stderr


def test_the_demo_needs_nothing_but_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.chdir(tmp_path)
    done = call("demo", "--lengths", "300,600")
    assert done.exit_code == 0, done.output
    record = json.loads(next((tmp_path / "runs").glob("demo-*.json")).read_text())
    schemes = ["none", "linear:factor=4", "ntk:factor=4", "yarn:factor=4", "dynamic-yarn:factor=4"]
    assert [row["scheme"] for row in record["rows"]] == [*schemes, "window"]
    found = {name: [cell["accuracy"] for cell in result["accuracy"]] for name, result in record["passkey"].items()}
    assert list(found) == schemes
    assert min(found["none"][0], *found["ntk:factor=4"], *found["yarn:factor=4"]) >= 0.9
    assert max(found["linear:factor=4"]) <= 0.1
    assert min(found["dynamic-yarn:factor=4"]) >= 0.9
    rows = {row["scheme"]: [part["perplexity"] for part in row["bins"]] for row in record["rows"]}
    assert rows["dynamic-yarn:factor=4"][0] <= rows["yarn:factor=4"][0]
    assert not (tmp_path / "empty").exists()


def test_the_real_demo_runs_its_schemes_and_writes_under_runs(
    checkpoint: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"smollm2": checkpoint, "tragedies": text}
    monkeypatch.setattr(rope_scaling.eval.fetch, "fetch", lambda name, say: places[name])
    monkeypatch.chdir(tmp_path)
    done = call("demo", "--real", "--lengths", f"{TRAINED},{TRAINED + 96}")
    assert done.exit_code == 0, done.output
    (run,) = (tmp_path / "runs").glob("demo-*.json")
    assert f"runs/{run.name}" in done.stdout
    rows = [row["scheme"] for row in json.loads(run.read_text())["rows"]]
    assert rows == ["none", "ntk:factor=2", "yarn:factor=2", "dynamic-yarn:factor=2", "window"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        [
            "--model",
            "rope-hf",
            "--model_args",
            "pretrained=x,scheme=yarn",
            "--tasks",
            "rope_passkey",
            "--limit=2",
            "-q",
        ],
        ["run", "--version", "a b"],
    ],
)
def test_lm_eval_gets_every_argument_untouched(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[list[str]] = []
    monkeypatch.setattr(rope_scaling.eval.harness, "main", got.append)
    assert call("lm-eval", *arguments).exit_code == 0
    assert got == [arguments]
