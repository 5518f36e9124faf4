"""A slow or read-only disk under a server: a library of our own between it and the system."""

import mmap
import os
import pathlib
import shutil
import struct
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).with_suffix(".c")
KINDS = 8


class SlowDisk:
    """Delays or refuses what a process does to files under `paths` (by name). Its environment is `environment`."""

    def __init__(self, base, **paths):
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("no C compiler for the library that slows a disk down")
        library, control = pathlib.Path(base) / "slowdisk.so", pathlib.Path(base) / "slowdisk.control"
        made = subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-ldl"], capture_output=True, text=True,
        )
        assert made.returncode == 0, made.stderr
        self.kinds = list(paths)
        control.write_bytes(bytes(4 * 6 * KINDS))
        with open(control, "r+b") as file:
            self.control = mmap.mmap(file.fileno(), 0)
        self.environment = os.environ | {
            "LD_PRELOAD": str(library),
            "SLOW_DISK_CONTROL": str(control),
            "SLOW_DISK_PATHS": ":".join(str(path) for path in paths.values()),
        }

    def _at(self, member, kind):
        return 4 * (KINDS * member + self.kinds.index(kind))

    def slow(self, kind, flush=0.0, write=0.0):
        """From now on each flush and each write of these files takes so many seconds longer."""
        struct.pack_into("i", self.control, self._at(0, kind), round(flush * 1000))
        struct.pack_into("i", self.control, self._at(1, kind), round(write * 1000))

    def flushes(self, kind):
        """How many flushes have been delayed so far."""
        return struct.unpack_from("I", self.control, self._at(2, kind))[0]

    def writes(self, kind):
        """How many writes have been delayed so far."""
        return struct.unpack_from("I", self.control, self._at(3, kind))[0]

    def read_only(self, kind, yes=True):
        """From now on these files are as on a file system that is read-only, or no longer."""
        struct.pack_into("i", self.control, self._at(4, kind), int(yes))

    def refused(self, kind):
        """How many calls have been refused for that."""
        return struct.unpack_from("I", self.control, self._at(5, kind))[0]
