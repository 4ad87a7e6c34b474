"""What `rope-scaling demo` measures, on the checkpoint that the package carries and on a real one."""

from collections.abc import Callable
from pathlib import Path

from rope_scaling.eval.compare import Plan
from rope_scaling.eval.runner.job import Job


def demo_job(real: bool, fetch: Callable[[str], Path], output: Path, lengths: tuple[int, ...] | None = None) -> Job:
    """Return the demonstration: `real` asks for SmolLM2-135M, trained to 8192 tokens, instead of the embedded Llama."""
    if real:
        plan = Plan(("none", "ntk:factor=2", "yarn:factor=2", "dynamic-yarn:factor=2"))
        edges = lengths or (1024, 2048, 4096, 8192, 10240, 12288)
        return Job(str(fetch("smollm2")), fetch("tragedies"), edges, plan, output=output)
    schemes = ("none", "linear:factor=4", "ntk:factor=4", "yarn:factor=4", "dynamic-yarn:factor=4")
    plan = Plan(schemes, batch_size=16)
    edges = lengths or (256, 512, 1024, 2048)
    return Job(
        str(fetch("tiny-llama-512")),
        fetch("macbeth"),
        edges,
        plan,
        texts=16,
        passkey=edges,
        samples=2,
        output=output,
    )
