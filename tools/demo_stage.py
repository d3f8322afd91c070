"""What the demo is played on: machines with keys of their own in one temporary folder, and a voice.

Invariant: nothing is left when the stage is left, however that happens: no file, no process, no GPG agent.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar("T")


class DemoError(Exception):
    """Something was not as it must be; the text says what."""


class Voice:
    """Prints what happens: plain ASCII, with colours and a moving bar where there is a terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

    def title(self, text: str) -> None:
        """Begin a part."""
        self._console.print(f"\n{text}", style="bold cyan")

    def say(self, text: str, style: str = "") -> None:
        """Explain; lines are indented."""
        for line in text.splitlines():
            self._console.print(f"  {line}".rstrip(), style=style)

    def typed(self, prompt: str, line: str) -> None:
        """Show what somebody types."""
        self._console.print(f"\n  {prompt}$ ", style="green", end="")
        self._console.print(line, style="bold")

    def printed(self, text: str) -> None:
        """Show what a command printed."""
        for line in text.rstrip().splitlines():
            self._console.print(f"    {line}".rstrip())

    def watch(self, what: str, work: Callable[[T], None], items: Sequence[T]) -> None:
        """Do `work` for all items, a few at a time, and say how long it took; raises the first error."""
        began = time.monotonic()
        at_once = min(os.cpu_count() or 1, 4)
        pool = ThreadPoolExecutor(at_once)
        try:
            with Progress(
                console=self._console, transient=True, disable=not self._console.is_terminal
            ) as bar:
                jobs = [pool.submit(work, item) for item in items]
                for job in bar.track(as_completed(jobs), total=len(jobs), description=f"  {what}"):
                    job.result()
        finally:
            pool.shutdown(cancel_futures=True)
        self.say(f"\n{what}, {at_once} at a time: {time.monotonic() - began:.1f} s")


class Machine:
    """A machine with a GPG key of its own, made for `mail`, and with its own state.

    Commands run in `folder`.  `key` is the fingerprint.
    """

    def __init__(self, voice: Voice, folder: Path, mail: str, environ: dict[str, str]) -> None:
        self.name = folder.name
        self.mail = mail
        self.folder = folder
        self._voice = voice
        home = folder / "gnupg"
        home.mkdir(mode=0o700, parents=True)
        state = folder / "state"
        self._environ = {
            **environ,
            "HOME": str(folder),
            "GNUPGHOME": str(home),
            "DEDUP_STATE_DIR": str(state),
        }
        self.run(f"gpg --batch --quiet --passphrase '' --quick-gen-key {mail} future-default default never")
        listing = self.run(f"gpg --batch --with-colons --list-secret-keys {mail}").decode()
        self.key = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))

    def run(self, line: str, *, status: int = 0, errors_too: bool = False) -> bytes:
        """Run a line of shell and return its standard output; `errors_too` adds what goes to standard error.

        Raises `DemoError` if its exit status is not `status`.
        """
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors_too else subprocess.PIPE,
            cwd=self.folder,
            env=self._environ,
            process_group=0,  # so that a Ctrl-C reaches us alone, and we end all of a pipeline
        )
        with process:
            try:
                out, errors = process.communicate()
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)
                raise
        if process.returncode != status:
            said = (errors or out).decode(errors="replace").strip()
            raise DemoError(
                f"{self.name}$ {line}\nended with exit status {process.returncode}, not {status}:\n{said}"
            )
        return out

    def show(self, line: str, *, status: int = 0) -> str:
        """Run a line of shell before the audience; return what it printed."""
        self._voice.typed(self.name, line)
        text = self.run(line, status=status, errors_too=True).decode(errors="replace")
        self._voice.printed(f"{text}(exit status {status})" if status else text)
        return text


class Stage:
    """A temporary folder with a repository and machines, as a context manager.

    Signals that ask the process to end raise `KeyboardInterrupt` in it.
    """

    def __init__(self, voice: Voice) -> None:
        self._voice = voice

    def __enter__(self) -> "Stage":
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        # Directly in /tmp, as the name of an agent's socket must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="dedup-demo-", dir="/tmp"))
        self.repository = self.folder / "repository"
        return self

    def machine(self, name: str, mail: str) -> Machine:
        """Set up a machine and make its GPG key."""
        environ = {each: value for each, value in os.environ.items() if not each.startswith("DEDUP_")}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it is called a hundred times: compile it once
        environ["PATH"] = f"{Path(sys.executable).parent}:{environ.get('PATH', os.defpath)}"
        environ["DEDUP_REPOSITORY"] = str(self.repository)
        config = self.folder / "empty.toml"  # whatever /etc/dedup of this computer says
        config.touch()
        environ["DEDUP_CONFIG"] = str(config)
        return Machine(self._voice, self.folder / name, mail, environ)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # cleaning up takes a moment only
        for home in self.folder.glob("*/gnupg"):
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True)
        deadline = time.monotonic() + 10
        while self.folder.exists() and time.monotonic() < deadline:  # agents remove their sockets as they end
            shutil.rmtree(self.folder, ignore_errors=True)
            time.sleep(0.01)
