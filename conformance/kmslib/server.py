"""Starts and stops the binary under test."""

import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import time

from .wire import Client, Creds

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAIN = "ap-guangzhou"
INTL = "ap-singapore"
GM = "ap-beijing"
REGIONS = (MAIN, f"{INTL}:intl", f"{GM}:gm")


def binary():
    """Path of the binary: JADESEAL_BIN, else the newer one of target/debug and target/release."""
    named = os.environ.get("JADESEAL_BIN")
    if named:
        return pathlib.Path(named)
    built = [p for p in (ROOT / "target" / kind / "jadeseal" for kind in ("debug", "release")) if p.exists()]
    if not built:
        raise FileNotFoundError("no jadeseal binary: run `cargo build -p jadeseal` or set JADESEAL_BIN")
    return max(built, key=lambda p: p.stat().st_mtime)


class Server:
    """One process of `jadeseal quickstart` on a data directory that outlives it."""

    def __init__(self, data_dir, regions=REGIONS, args=(), log_dir=None):
        self.data_dir = pathlib.Path(data_dir)
        self.regions = regions
        self.args = list(args)
        self.log = pathlib.Path(log_dir or self.data_dir.parent) / f"{self.data_dir.name}.stderr.log"
        self.process = None
        self.creds = None
        self.hello = {}
        # Environment of the process, where it is to have another one than ours.
        self.environment = None

    def start(self, timeout=30):
        """Starts and waits for the line that says the server is ready. Returns self."""
        command = [str(binary()), "quickstart", "--data-dir", str(self.data_dir), "--listen", "127.0.0.1:0"]
        for region in self.regions:
            command += ["--region", region]
        command += ["-o", "json", *self.args]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, env=self.environment,
            )
        line = self._first_line(timeout)
        self.hello = json.loads(line)
        key = self.hello.get("secret_key")
        # The secret is printed when it is made; a later start on the same data need not repeat it.
        if key:
            self.creds = Creds(self.hello["secret_id"], key)
        assert self.creds is not None, self.hello
        return self

    def _first_line(self, timeout):
        end = time.monotonic() + timeout
        data = b""
        stdout = self.process.stdout
        while b"\n" not in data:
            ready, _, _ = select.select([stdout], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(stdout.fileno(), 65536) if ready else b""
            if not chunk:
                self.kill()
                raise RuntimeError(f"the server did not come up: {self.log.read_text(errors='replace')[-2000:]}")
            data += chunk
        return data.split(b"\n", 1)[0]

    @property
    def endpoint(self):
        return self.hello["endpoint"]

    @property
    def host(self):
        """host:port."""
        return self.endpoint.split("://", 1)[1]

    @property
    def pid(self):
        return self.process.pid

    def client(self, region=None, **how):
        """A client of our own for a region (default: the server's first)."""
        return Client(self.endpoint, self.creds, region or self.hello["region"], **how)

    def stop(self, timeout=20):
        """Graceful stop; returns the exit status."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.process.stdout.close()
        self.process = None
        return status

    def kill(self):
        """kill -9."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process = None

    def audit_text(self):
        """Everything in the audit segments, as bytes."""
        return b"".join(p.read_bytes() for p in sorted((self.data_dir / "audit").rglob("*")) if p.is_file() and p.suffix != ".tmp")

    def log_text(self):
        """Everything that the process wrote to standard error, as bytes."""
        return self.log.read_bytes()


class Configured(Server):
    """One process of `jadeseal serve` with a configuration of its own, initialised at the first start."""

    def __init__(self, base, regions=(MAIN,)):
        super().__init__(pathlib.Path(base) / "data", regions)
        self.config = pathlib.Path(base) / "jadeseal.toml"

    def start(self, settings="", made_with="", timeout=30):
        """Starts with `settings` (TOML), in which `{uin}` is the number of the account. `made_with` is the same for `init`.
        Returns self."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            address = probe.getsockname()
        regions = [region.partition(":") for region in self.regions]
        common = "".join([
            f'listen = "{address[0]}:{address[1]}"\ndata_dir = "{self.data_dir}"\n',
            f'[root]\nkind = "file"\npath = "{self.data_dir / "root.key"}"\n',
            *(f'[[region]]\nname = "{name}"\nprofile = "{profile or "all"}"\n' for name, _, profile in regions),
        ])
        if self.creds is None:
            self.config.write_text(common + made_with)
            made = subprocess.run(
                [str(binary()), "init", "--config", str(self.config), "-o", "json"],
                capture_output=True, text=True, timeout=timeout, check=True,
            )
            self.hello = json.loads(made.stdout)
            self.creds = Creds(self.hello["secret_id"], self.hello["secret_key"])
        self.hello |= {"endpoint": f"http://{address[0]}:{address[1]}", "region": regions[0][0]}
        self.config.write_text(common + settings.replace("{uin}", str(self.hello["owner_uin"])))
        written = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(binary()), "serve", "--config", str(self.config)],
                stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, env=self.environment,
            )
        end = time.monotonic() + timeout
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(address, 1).close()
                # Somebody else may have taken the port: this process must say that it serves.
                if b"serving" in self.log.read_bytes()[written:]:
                    return self
                time.sleep(0.02)
            except OSError:
                time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the server did not come up: {self.log.read_text(errors='replace')[-2000:]}")
