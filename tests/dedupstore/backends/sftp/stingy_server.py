"""In place of ssh: a real sftp-server that never gives more than 1000 bytes at a read.

The SFTP drafts allow that to any server.  This stands between the client and OpenSSH's sftp-server and makes
the length in every read request smaller; all else goes through as it is.
"""

import subprocess
import sys

READ = 5
LEAST = 1000


def main() -> int:
    """Pass packets on until the client closes its end."""
    with subprocess.Popen(["/usr/lib/openssh/sftp-server"], stdin=subprocess.PIPE) as server:
        assert server.stdin is not None
        while header := sys.stdin.buffer.read(4):
            packet = sys.stdin.buffer.read(int.from_bytes(header, "big"))
            if packet[0] == READ:
                length = min(LEAST, int.from_bytes(packet[-4:], "big"))
                packet = packet[:-4] + length.to_bytes(4, "big")
            server.stdin.write(header + packet)
            server.stdin.flush()
        server.stdin.close()
    return server.returncode


if __name__ == "__main__":
    sys.exit(main())
