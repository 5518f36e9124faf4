"""What the tests of deploy/ share: where it lies, its tools, and what the real binary exposes."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from .server import ROOT

DEPLOY = ROOT / "deploy"
RUNBOOKS = ROOT / "docs/runbooks"
RULES = DEPLOY / "prometheus/jadeseal.rules.yml"
UNIT = DEPLOY / "systemd/jadeseal.service"
CHART = DEPLOY / "helm/jadeseal"
METRIC = re.compile(r"\bjadeseal_[a-z0-9_]+\b")


def tool(name):
    """Path of a program; a test that needs one that is not there is skipped, in so many words."""
    beside = pathlib.Path(sys.executable).parent / name
    unpacked = ROOT / "target/tools/usr/bin" / name
    found = shutil.which(name) or next((str(p) for p in (beside, unpacked) if p.exists()), None)
    if not found:
        pytest.skip(f"{name} is not installed, and nobody here may install it (see xtask/src/setup.rs)")
    return found


def run(*command, ok=(0,), **how):
    """Runs a command that must end with one of the codes `ok`; returns what it printed on both outputs."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, **how)
    assert done.returncode in ok, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def without_strings(expression):
    """An expression of PromQL without its quoted parts."""
    return re.sub(r'"(?:\\.|[^"\\])*"', '""', expression)


def exposed(text):
    """Names that a page of /metrics makes known, with those that its families have in Prometheus."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        if kind == "histogram":
            names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(f"{name}_total" if kind == "counter" else name)
    return names
