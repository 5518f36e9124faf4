"""Receivers of audit exports, each as unreliable as a test wants it, and a parser of RFC 5424 of our own."""

import http.server
import json
import random
import re
import socket
import struct
import threading
import time

# RFC 5424 section 6, strict. MSG may be anything (MSG-ANY).
_NAME = r'[!#-<>-\\^-~]{1,32}'
_VALUE = r'(?:[^"\\\]]|\\["\\\]])*'
_SYSLOG = re.compile(
    r"<(?P<pri>[1-9][0-9]{0,2}|0)>(?P<version>[1-9][0-9]{0,2})"
    r" (?P<time>-|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2}))"
    r" (?P<host>-|[!-~]{1,255}) (?P<app>-|[!-~]{1,48}) (?P<proc>-|[!-~]{1,128}) (?P<msgid>-|[!-~]{1,32})"
    rf" (?P<data>-|(?:\[{_NAME}(?: {_NAME}=\"{_VALUE}\")*\])+)(?: (?P<msg>.*))?",
    re.DOTALL,
)
_PARAM = re.compile(rf' ({_NAME})="({_VALUE})"')


class Message:
    """One syslog message; what is not one raises."""

    def __init__(self, data):
        match = _SYSLOG.fullmatch(data.decode())
        assert match, data
        self.facility, self.severity = divmod(int(match["pri"]), 8)
        assert int(match["pri"]) <= 191 and match["version"] == "1"
        self.time, self.app, self.msgid, self.msg = match["time"], match["app"], match["msgid"], match["msg"]
        self.params = {name: re.sub(r'\\(["\\\]])', r"\1", value) for name, value in _PARAM.findall(match["data"])}
        self.index = int(self.params["index"])


class Sink:
    """What arrived: (index, bytes of the record), in order."""

    def __init__(self, seed=0):
        self.got = []
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.failing = True
        self.failures = 0
        # Seconds that a batch takes (HTTP).
        self.delay = 0

    def take(self, index, record):
        with self.lock:
            self.got.append((index, record))

    def fails(self, share):
        with self.lock:
            return self.failing and self.random.random() < share

    def count(self):
        with self.lock:
            return len(self.got)


class HttpSink(Sink):
    """Takes batches, but for some that it answers with an error, drops, or takes without saying so."""

    def __init__(self, seed=0):
        super().__init__(seed)
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if sink.fails(0.3):
                    sink.failures += 1
                    self.close_connection = True
                    if sink.fails(0.5):
                        self.answer(sink.random.choice([429, 500, 503, 404]))
                    return
                assert self.headers["Content-Type"] == "application/x-ndjson"
                lines = body.splitlines()
                parsed = [split_line(line) for line in lines]
                assert parsed[0][0] == int(self.headers["X-Jadeseal-First"])
                assert parsed[-1][0] == int(self.headers["X-Jadeseal-Last"])
                for index, record in parsed:
                    sink.take(index, record)
                time.sleep(sink.delay)
                if sink.fails(0.1):
                    self.close_connection = True
                    return
                self.answer(200)

            def answer(self, status):
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/audit"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class TcpSink(Sink):
    """Octet-counted frames; resets some connections in the middle of whatever they hold."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.resets = 0
        self.broken = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            with connection, connection.makefile("rb") as stream:
                while self.frame(stream):
                    if self.fails(0.02):
                        self.resets += 1
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
        except OSError:
            pass
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.broken.append(error)

    def frame(self, stream):
        digits = b""
        while (byte := stream.read(1)) != b" ":
            if not byte:
                return False
            digits += byte
        assert re.fullmatch(rb"[1-9][0-9]*", digits), digits
        data = stream.read(int(digits))
        if len(data) < int(digits):
            return False
        message = Message(data)
        self.take(message.index, message.msg.encode())
        return True

    def close(self):
        self.listener.close()


class DatagramSink(Sink):
    """Datagrams on a socket that is bound already."""

    def __init__(self, bound):
        super().__init__()
        self.socket = bound
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.messages = []
        self.broken = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                data = self.socket.recv(1 << 17)
            except OSError:
                return
            try:
                message = Message(data)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                self.broken.append(error)
                continue
            self.messages.append(message)
            self.take(message.index, message.msg.encode())

    def close(self):
        self.socket.close()


def udp_sink():
    """A receiver of UDP, and its address."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    return DatagramSink(bound), f"udp://127.0.0.1:{bound.getsockname()[1]}"


def unix_sink(path):
    """A receiver like /dev/log, and its address."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bound.bind(str(path))
    return DatagramSink(bound), f"unix:{path}"


_LINE = re.compile(rb'\{"index":(\d+),"log":"([^"]*)","record":(.*)\}', re.DOTALL)


def split_line(line):
    """Index and bytes of the record of one JSON line, which must also be JSON."""
    match = _LINE.fullmatch(line)
    assert match, line
    assert json.loads(line)["record"] == json.loads(match[3])
    return int(match[1]), match[3]
