"""Runs a command under what a systemd unit's seccomp settings allow, where no systemd runs: the filter is made of the
unit's own lines, and the kernel enforces it.

    python -m kmslib.sandbox UNIT -- COMMAND...

Enforced: SystemCallFilter=, MemoryDenyWriteExecute=, RestrictAddressFamilies=, NoNewPrivileges=, LimitCORE=,
LimitMEMLOCK=, UMask=, and, for root, an ordinary user without capabilities. Everything about files and namespaces
(ProtectSystem= and the like) is not.

The unit answers a call that is not allowed with an error; here it ends the process with SIGSYS, so that nothing
that was refused goes unseen.
"""

import ctypes
import ctypes.util
import os
import resource
import socket
import subprocess
import sys

# Any number that nothing else uses.
USER = 64999

KILL, ALLOW = 0x80000000, 0x7FFF0000
EQUAL, MASKED_EQ = 4, 7
WRITE, EXEC = 2, 4


class Arg(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def settings(unit):
    """Section, name and value of each line of a unit, in order."""
    section, found = None, []
    for line in open(unit, encoding="utf-8"):
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif line and line[0] not in "#;":
            name, _, value = line.partition("=")
            found.append((section, name, value))
    return found


def values(unit, name):
    """All values of one setting."""
    return [value for _, key, value in settings(unit) if key == name]


def expand(word, seen=()):
    """The system calls of a group as systemd defines it, or the one that is named."""
    if not word.startswith("@"):
        return {word}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True)
    words = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return set().union(*(expand(w, (*seen, word)) for w in words if w and not w.startswith("#") and w not in seen))


def allowed(unit):
    """Names of the system calls that the SystemCallFilter= lines leave, in their order."""
    names = set()
    for line in values(unit, "SystemCallFilter"):
        calls = set().union(*(expand(word) for word in line.removeprefix("~").split()))
        names = names - calls if line.startswith("~") else names | calls
    # systemd allows these with any filter: the process could not begin or end without.
    return names | expand("@default")


class Seccomp:
    """The few calls of libseccomp that are needed."""

    def __init__(self):
        self.lib = ctypes.CDLL(ctypes.util.find_library("seccomp") or "libseccomp.so.2", use_errno=True)
        self.lib.seccomp_init.restype = ctypes.c_void_p
        self.lib.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Arg),
        ]
        self.lib.seccomp_load.argtypes = [ctypes.c_void_p]

    def load(self, default, rules):
        """Puts a filter on this process; rules are (action, system call, conditions)."""
        context = self.lib.seccomp_init(ctypes.c_uint32(default))
        for action, name, conditions in rules:
            number = self.lib.seccomp_syscall_resolve_name(name.encode())
            # Negative: this architecture or library does not have it.
            if number < 0:
                continue
            array = (Arg * max(1, len(conditions)))(*conditions)
            code = self.lib.seccomp_rule_add_array(context, action, number, len(conditions), array)
            if code < 0:
                raise OSError(-code, f"seccomp rule for {name}")
        code = self.lib.seccomp_load(context)
        if code < 0:
            raise OSError(-code, "seccomp_load")


def enter(unit):
    """Makes this process one that the unit describes, as far as this goes."""
    calls = allowed(unit)
    families = {int(getattr(socket, f)) for line in values(unit, "RestrictAddressFamilies") for f in line.split()}
    seccomp = Seccomp()
    for name, number in (("LimitCORE", resource.RLIMIT_CORE), ("LimitMEMLOCK", resource.RLIMIT_MEMLOCK)):
        for value in values(unit, name):
            limit = resource.RLIM_INFINITY if value == "infinity" else int(value)
            try:
                resource.setrlimit(number, (limit, limit))
            except ValueError:
                # Not even root may raise it in some containers; the command then runs with what it had.
                print(f"sandbox: {name} stays {resource.getrlimit(number)}", file=sys.stderr)
    os.umask(int(values(unit, "UMask")[-1], 8))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
    libc = ctypes.CDLL(None, use_errno=True)
    if values(unit, "NoNewPrivileges") != ["yes"] or libc.prctl(38, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    return calls, families, seccomp


def main():
    unit, dashes, *command = sys.argv[1:]
    assert dashes == "--" and command
    calls, families, seccomp = enter(unit)
    denied = []
    if values(unit, "MemoryDenyWriteExecute") == ["yes"]:
        denied += [
            (KILL, "mmap", [Arg(2, MASKED_EQ, WRITE | EXEC, WRITE | EXEC)]),
            (KILL, "mprotect", [Arg(2, MASKED_EQ, EXEC, EXEC)]),
            (KILL, "pkey_mprotect", [Arg(2, MASKED_EQ, EXEC, EXEC)]),
        ]
    # Several conditions on one argument are not for one rule of libseccomp: the families are allowed one by one.
    rules = [(ALLOW, name, []) for name in sorted(calls) if name != "socket" or not families]
    rules += [(ALLOW, "socket", [Arg(0, EQUAL, family, 0)]) for family in sorted(families)]
    # In this order: under the second, no further filter need be loadable.
    seccomp.load(ALLOW, denied)
    seccomp.load(KILL, rules)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
