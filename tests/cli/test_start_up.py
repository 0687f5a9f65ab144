"""What is not imported: the command answers, checks and describes without what takes long to load.

Modules are counted and not seconds, so that a busy machine does not matter.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.processes import environment
from kedge.lazy_import import import_lazily

HEAVY = ("torch._C", "diffusers", "transformers", "peft", "accelerate", "matplotlib", "scipy", "PIL", "huggingface_hub")
MOST = 1000  # modules of all kinds; the command alone takes some 500, torch alone 1,700
# Where a published model or reward lies is looked up; the world's prompts are words of the program that draws them.
NEEDED = {
    "dry run": {"huggingface_hub"},
    "dry run of a policy gradient": {"huggingface_hub"},
    "dry run in the emoji world": {"PIL"},
    "dry run that looks for the best step": {"PIL"},
}
PROBE = """
import json, sys
from kedge.cli import main
sys.argv = ["kedge", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""
LIGHT = {
    "help": ["--help"],
    "a preset that is not there": ["train", "emoji-rokm"],
    "a key that is not there": ["train", "emoji-rocm", "optimizer.lrr=1"],
    "a value out of range": ["train", "emoji-rocm", "training.steps=0"],
    "an algorithm that is not there": ["train", "emoji-rocm", "algorithm=rocky"],
    "a reward that is not there": ["train", "emoji-rocm", "reward=pikscore"],
    "dry run": ["train", "rocm-8gb", "--dry-run"],
    "dry run of a policy gradient": ["train", "dpok-paper", "--dry-run"],
    "dry run in the emoji world": ["train", "emoji-rocm", "--dry-run"],
    "dry run that looks for the best step": ["train", "emoji-auto", "--dry-run"],
    "presets": ["presets"],
    "init": ["init", "emoji-rocm"],
}


def modules_after(arguments: list[str], folder: Path) -> set[str]:
    """What is loaded when the command is done."""
    call = [sys.executable, "-c", PROBE, json.dumps(arguments)]
    done = subprocess.run(call, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("case", LIGHT)
def test_what_computes_nothing_loads_nothing_that_computes(case: str, tmp_path: Path) -> None:
    modules = modules_after(LIGHT[case], tmp_path)
    assert modules.intersection(HEAVY) <= NEEDED.get(case, set())
    assert len(modules) < MOST or "torch._C" in NEEDED.get(case, set())


def test_the_first_lines_of_a_training_come_before_anything_is_loaded(tmp_path: Path) -> None:
    """The folder cannot be written: it stops behind the banner, where libraries would be loaded."""
    probe = PROBE.replace("try:", "import kedge.workflows.train as t\nt.waiting = lambda *_: sys.exit(3)\ntry:", 1)
    call = [sys.executable, "-c", probe, json.dumps(["train", "emoji-rocm", "--out", "run"])]
    done = subprocess.run(call, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300)
    assert "reward   pickscore@emoji" in done.stderr
    assert not set(json.loads(done.stdout.splitlines()[-1])).intersection(HEAVY)


def test_a_library_that_waits_is_the_library_itself(tmp_path: Path) -> None:
    """Executed once, in place, at the first look: all who named it before have the same module."""
    (tmp_path / "slow.py").write_text("print('executed')\nvalue = 3\n")
    code = """
import sys
from kedge.lazy_import import import_lazily
import_lazily("slow")
import slow, slow as again
assert "value" not in vars(slow)
print("named")
assert slow.value == again.value == 3
assert sys.modules["slow"] is slow
import_lazily("slow")
import_lazily("there_is_no_such_module")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["named", "executed"], done.stderr


def test_what_schedulers_want_of_scipy_waits_until_it_is_used(tmp_path: Path) -> None:
    """Whoever imports it inside has it, and whoever looks for the module of a function goes past it."""
    code = """
import gc, inspect, sys
from kedge.lazy_import import heavy_imports
with heavy_imports():
    assert not gc.isenabled()
    from diffusers import DPMSolverMultistepScheduler
    inspect.getmodule(inspect.currentframe())
    assert "scipy.stats._distn_infrastructure" not in sys.modules
assert gc.isenabled()
scheduler = DPMSolverMultistepScheduler(use_beta_sigmas=True)
scheduler.set_timesteps(4)
assert "scipy.stats._distn_infrastructure" in sys.modules
from scipy import stats
import scipy.stats.distributions
print(stats.norm.cdf(0.0), scipy.stats is stats, len(scheduler.timesteps))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split() == ["0.5", "True", "4"], done.stderr


def test_a_library_whose_package_is_not_installed_is_left_alone() -> None:
    """SciPy is none of Kedge's dependencies: without it nothing has to wait."""
    import_lazily("no_such_package.part")
    assert "no_such_package.part" not in sys.modules


def test_threads_wait_until_all_of_a_library_is_there(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.5)\nvalue = 3\n")
    code = """
import threading, time
from kedge.lazy_import import import_lazily
import_lazily("slow")
import slow
values = []
threads = [threading.Thread(target=lambda: values.append(slow.value)) for _ in range(8)]
for thread in threads:
    thread.start()
    time.sleep(0.02)
for thread in threads:
    thread.join()
print(values)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == str([3] * 8), done.stderr


def test_a_library_that_fails_fails_again(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ImportError('half of it is missing')\n")
    code = """
from kedge.lazy_import import import_lazily
import_lazily("broken")
import broken
for _ in range(2):
    try:
        broken.value
        import broken
    except (ImportError, AttributeError) as error:
        print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split()[0] == "ImportError", done.stderr


def test_a_submodule_that_is_asked_for_first_is_executed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``from torch.fft import fftn``, as diffusers has it, before torch was used: executed twice, it raises."""
    package = tmp_path / "lazily"
    package.mkdir()
    (package / "__init__.py").write_text("import lazily.part\ncount = []\n")
    (package / "part.py").write_text("import sys\nsys.executed = getattr(sys, 'executed', 0) + 1\nvalue = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "executed", 0, raising=False)
    import_lazily("lazily")
    part = importlib.import_module("lazily.part")
    assert (sys.executed, part.value) == (1, 7)  # type: ignore[attr-defined]
    assert part is sys.modules["lazily.part"] is sys.modules["lazily"].part
    assert part.__spec__.origin == str(package / "part.py")
    importlib.reload(part)  # on purpose
    assert sys.executed == 2  # type: ignore[attr-defined]
