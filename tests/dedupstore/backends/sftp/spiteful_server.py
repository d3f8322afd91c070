"""In place of ssh: a real sftp-server that fails on purpose.

    spiteful_server.py LOG fail KIND     answers requests of a kind with "failure", without doing them
    spiteful_server.py LOG die NUMBER    ends before its request of that number, counted from 1
    spiteful_server.py LOG folder NUMBER answers the sync of a folder of that number with "failure"; with a + behind
                                         it, also all that follow

KIND is the name of a request in `paramiko.sftp`, or of an extension.  The kinds of all requests go to the file LOG,
one a line.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

KINDS = {4: "close", 6: "write", 3: "open", 8: "fstat", 17: "stat", 18: "rename", 14: "mkdir", 13: "remove"}
EXTENDED, STATUS, HANDLE, FAILURE = 200, 101, 102, 4
OPEN_TO_READ = (1).to_bytes(4, "big") + bytes(4)  # how the request ends


def receive(stream: IO[bytes]) -> bytes:
    """The next packet without its length; nothing at the end."""
    return stream.read(int.from_bytes(stream.read(4), "big"))


def send(stream: IO[bytes], packet: bytes) -> None:
    """Send a packet, and its length before it."""
    stream.write(len(packet).to_bytes(4, "big") + packet)
    stream.flush()


def kind_of(packet: bytes) -> str:
    """The name of a request."""
    if packet[0] == EXTENDED:
        return packet[9 : 9 + int.from_bytes(packet[5:9], "big")].decode()
    return KINDS.get(packet[0], str(packet[0]))


def main(log: Path, fault: str, which: str) -> None:
    """Pass packets on until the client closes its end."""
    server = subprocess.Popen(["/usr/lib/openssh/sftp-server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    to_server, from_server = server.stdin, server.stdout
    failing: set[bytes] = set()
    opening: set[bytes] = set()  # requests to open a file or folder for reading
    readable: set[bytes] = set()  # what they gave
    syncs = 0

    def fails(sync: int) -> bool:
        if fault != "folder":
            return False
        number = int(which.rstrip("+"))
        return sync == number or (which.endswith("+") and sync > number)

    def give_back() -> None:
        while packet := receive(from_server):
            if packet[1:5] in failing:
                packet = bytes([STATUS]) + packet[1:5] + FAILURE.to_bytes(4, "big") + bytes(8)
            if packet[0] == HANDLE:  # which another file may have had before
                (readable.add if packet[1:5] in opening else readable.discard)(packet[5:])
            send(sys.stdout.buffer, packet)

    threading.Thread(target=give_back, daemon=True).start()
    count = 0
    with log.open("a") as seen:
        while packet := receive(sys.stdin.buffer):
            if packet[0] != 1:  # the greeting
                count += 1
                kind = kind_of(packet)
                print(kind, file=seen, flush=True)
                if fault == "die" and count == int(which):
                    server.kill()
                    server.wait()
                    os._exit(1)
                if kind == "open" and packet.endswith(OPEN_TO_READ):
                    opening.add(packet[1:5])
                of_folder = kind == "fsync@openssh.com" and any(map(packet.endswith, readable))
                syncs += of_folder
                if (fault == "fail" and kind == which) or (of_folder and fails(syncs)):
                    failing.add(packet[1:5])
                    packet = bytes([17]) + packet[1:5] + bytes(4)  # of nothing: it harms nobody
            send(to_server, packet)
    server.kill()
    server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
