"""The command as a process: entry points, pipes, signals, start-up cost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

import tensorprog

COMMAND = [sys.executable, "-m", "tensorprog"]


def call(*argv: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *argv], capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_module_and_version() -> None:
    done = call("--version")
    assert (done.returncode, done.stdout) == (0, f"tensorprog {tensorprog.__version__}\n")


def test_bad_input_as_a_process() -> None:
    done = call("predict", "--loss", "foo")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_odd_literals_do_not_warn() -> None:
    done = call("predict", "--free", "r", "--lr-exponent", "1if r else 2")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
def test_a_reader_that_leaves_is_no_error() -> None:
    line = f"{sys.executable} -m tensorprog table --parametrization sp --format json | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "{\n0\n"
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "max-lr"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "tensorprog: cannot write the output: No space left on device\n"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_is_one_line() -> None:
    running = subprocess.Popen(
        [*COMMAND, "predict", "--hidden-layers", "256", "--steps", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with the signal ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(2)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "tensorprog predict: interrupted\n")


def test_ascii_terminals_get_ascii() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for form in ("text", "md", "latex", "html", "csv", "json"):
        done = call("table", "--parametrization", "sp", "--format", form, env=environment)
        assert done.returncode == 0, done.stderr


def test_importing_is_cheap() -> None:
    """Neither torch nor anything else that is slow to import comes with the package."""
    heavy = (
        "torch",
        "sympy",
        "pandas",
        "matplotlib",
        "rich",
        "numpy",
        "scipy",
        "tensorprog.cli",
        "tensorprog.report.html",
    )
    code = f"import sys, tensorprog; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_a_piped_prediction_needs_no_rich_and_no_torch() -> None:
    code = (
        "import sys; from tensorprog.cli import main; main(['predict']); "
        "print([m for m in ('rich', 'torch', 'sympy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("[]\n")
