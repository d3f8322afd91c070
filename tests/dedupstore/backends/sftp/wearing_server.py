"""In place of ssh: a real sftp-server that never comes to an end.

    wearing_server.py names 0        lists ever more names in every folder
    wearing_server.py drip KIND      gives answers of that kind byte by byte, with a pause before each
    wearing_server.py crumbs 0       gives one byte at each read, after a pause
    wearing_server.py sip 0          takes what comes after the first write byte by byte, with a pause before each
    wearing_server.py complain 0     complains on stderr without end, and does its work

KIND is the number of a kind of answer in the draft: 2 version, 102 handle, 103 data, 104 names, 105 attributes.
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO

from tests.dedupstore.backends.sftp.spiteful_server import receive, send

PAUSE = 0.2  # far less than the silence that a client bears
READ, WRITE, READDIR, NAMES = 5, 6, 12, 104
MANY = 1000


def string(data: bytes) -> bytes:
    """A field of a packet."""
    return len(data).to_bytes(4, "big") + data


def names(number: bytes, first: int) -> bytes:
    """An answer with some names of files."""
    file = (0x1 | 0x4).to_bytes(4, "big") + (7).to_bytes(8, "big") + (0o100600).to_bytes(4, "big")
    entries = (string(f"{first + k:064x}".encode()) + string(b"") + file for k in range(MANY))
    return bytes([NAMES]) + number + MANY.to_bytes(4, "big") + b"".join(entries)


def drip(stream: IO[bytes], packet: bytes) -> None:
    """Send a packet slowly."""
    for byte in len(packet).to_bytes(4, "big") + packet:
        time.sleep(PAUSE)
        stream.write(bytes([byte]))
        stream.flush()


def main(fault: str, kind: int) -> None:
    """Pass packets on until the client closes its end."""
    server = subprocess.Popen(["/usr/lib/openssh/sftp-server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    to_server, from_server = server.stdin, server.stdout
    ours = threading.Lock()

    def give_back() -> None:
        while packet := receive(from_server):
            with ours:
                (drip if packet[0] == kind else send)(sys.stdout.buffer, packet)

    def complain() -> None:
        while True:
            os.write(2, b"This server complains.\n" * 1000)

    threading.Thread(target=give_back, daemon=True).start()
    if fault == "complain":
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores, and ssh does not
        threading.Thread(target=complain, daemon=True).start()
    count = itertools.count(0, MANY)
    while True:
        packet = receive(sys.stdin.buffer)
        if not packet:
            break
        if fault == "names" and packet[0] == READDIR:
            with ours:
                send(sys.stdout.buffer, names(packet[1:5], next(count)))
            continue
        if fault == "sip" and packet[0] == WRITE:
            while os.read(0, 1):
                time.sleep(PAUSE)
        if fault == "crumbs" and packet[0] == READ:
            time.sleep(PAUSE)
            packet = packet[:-4] + (1).to_bytes(4, "big")
        send(to_server, packet)
    server.kill()
    server.wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
