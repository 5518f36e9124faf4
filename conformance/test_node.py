"""Runs the Node SDK's tests (conformance/node) against the session's server."""

import os
import pathlib
import shutil
import subprocess

NODE = pathlib.Path(__file__).resolve().parent / "node"


def test_node_sdk(server):
    installed = shutil.which("node") is not None and (NODE / "node_modules").is_dir()
    assert installed, "node or conformance/node/node_modules is missing: run `cargo xtask test`"
    environment = os.environ | {
        "JADESEAL_ENDPOINT": server.endpoint,
        "JADESEAL_REGION": server.hello["region"],
        "TENCENTCLOUD_SECRET_ID": server.creds.secret_id,
        "TENCENTCLOUD_SECRET_KEY": server.creds.secret_key,
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec"], cwd=NODE, env=environment, capture_output=True, text=True, timeout=300
    )
    summary = [line for line in done.stdout.splitlines() if line.startswith("ℹ")]
    print("node:", *summary)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
