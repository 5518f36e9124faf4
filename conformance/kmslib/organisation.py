"""A deployment with an organisation: `init`, `account create`, `serve` with a configuration file."""

import json
import pathlib
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

from .server import MAIN, binary
from .wire import Client, Creds


@dataclass(frozen=True)
class Account:
    """An account with its access key, as the commands print them."""

    name: str
    uin: int
    app_id: int
    creds: Creds

    @property
    def member(self):
        return {"MemberUin": self.uin, "MemberAppId": self.app_id}


def run(*args):
    done = subprocess.run([str(binary()), *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[0])


def account(name, made):
    return Account(name, made["owner_uin"], made["app_id"], Creds(made["secret_id"], made["secret_key"]))


class Deployment:
    """Administrator, delegated administrator, two members and a stranger. The last one is made while it serves."""

    def __init__(self, base):
        self.config = pathlib.Path(base) / "jadeseal.toml"
        self.data_dir = pathlib.Path(base) / "data"
        self.log = pathlib.Path(base) / "serve.log"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.host = f"127.0.0.1:{probe.getsockname()[1]}"
        self.endpoint = f"http://{self.host}"
        self.hello = {"region": MAIN}
        at = ("--config", str(self.config))
        made = run("init", *at, "--data-dir", str(self.data_dir), "--listen", self.host, "--account-name", "main", "-o", "json")
        self.admin = account("main", made)
        self.delegate, self.member, self.sibling = (
            account(name, run("account", "create", *at, "--name", name, "-o", "json"))
            for name in ("security team", "项目一", "second")
        )
        self.creds = self.admin.creds
        text = self.config.read_text().replace(
            "[audit]",
            f'[[organisation]]\nname = "acme"\nadmins = [{self.admin.uin}, {self.delegate.uin}]\n'
            f"members = [{self.delegate.uin}, {self.member.uin}, {self.sibling.uin}]\n\n[audit]",
            1,
        )
        self.config.write_text(text)
        self.process = None

    def start(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([str(binary()), "serve", "--config", str(self.config)],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while True:
            try:
                self.client(self.admin).call("GetRegions")
                break
            except OSError:
                assert time.monotonic() < end and self.process.poll() is None, self.log.read_text()
                time.sleep(0.05)
        made = run("account", "create", "--config", str(self.config), "--name", "stranger", "-o", "json")
        self.stranger = account("stranger", made)
        return self

    def client(self, who):
        return Client(self.endpoint, who.creds, MAIN)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()

    def records(self):
        """The audit records so far."""
        lines = b"".join(p.read_bytes() for p in sorted((self.data_dir / "audit").glob("audit-*.log"))).splitlines()
        return [json.loads(line[9:]) for line in lines if line.strip(b"\0") and not line.startswith(b"#")]
