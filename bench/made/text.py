"""Text of several kinds, and what looks like pictures, for data to measure with; seeded."""

from array import array
from random import Random

PICTURE = "jpg"
TEXTS = ("eml", "html", "c", "log")


class Text:
    """Text of several kinds, made by drawing from urns, in which frequent words lie more than once."""

    def __init__(self, source: Random) -> None:
        self._source = source
        syllables = [a + b for a in (*"bdfgklmnprstv", "ch", "st", "tr") for b in (*"aeiou", "ai")]
        made = {"".join(source.choices(syllables, k=source.randint(1, 4))) for _ in range(40_000)}
        self.words = sorted(made)
        source.shuffle(self.words)
        rare = self.words[:16_000]
        names = [f"{a}_{b}" for a, b in zip(self._some(6000), self._some(6000), strict=True)]
        calls = [f"    {a}({b}, {c});\n" for a, b, c in (source.choices(names, k=3) for _ in range(5000))]
        hosts = [f"host{n} {w}[{n * 37}]: " for n, w in enumerate(self._some(3000))]
        links = [f'<a href="/{a}/{b}.html">' for a, b in zip(self._some(3000), self._some(3000), strict=True)]
        self._urns = {
            "eml": self._urn(
                ["\n> ", ",\n", ". ", "\n\n", "\nSubject: Re: "],
                [f"{w} " for w in rare],
                self._phrases(14_000),
            ),
            "html": self._urn(
                ["</a>", "</p>\n<p>", "<li>", "</div>\n"], [f"{w} " for w in rare], links, self._phrases(6000)
            ),
            "c": self._urn(
                [";\n", " = ", "->", "\treturn ", "  }\n", "(", ")"], names, calls, self._phrases(3000)
            ),
            "log": self._urn(
                ["status=sent ", "connection from ", "user="],
                [f"{source.randrange(10**7)} " for _ in range(14_000)],
                [f"10.{source.randrange(256)}.{source.randrange(256)}.7 " for _ in range(8000)],
                [f"\nMar {source.randint(1, 30):02} {source.randrange(86_400)} {host}" for host in hosts * 4],
            ),
        }

    def make(self, kind: str, size: int) -> bytes:
        """Return so many bytes of text, or of what looks like a picture."""
        if kind == PICTURE:
            return (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + self._source.randbytes(size))[:size]
        urn, made = self._urns[kind], b""
        while len(made) < size:
            draws = array("H", self._source.randbytes(2 * (size // 6 + 32)))
            made += b"".join(map(urn.__getitem__, draws))
        return made[:size]

    def size(self, kind: str) -> int:
        """Return the size in bytes of a new file."""
        middle, width, most = (150 << 10, 1.3, 16 << 20) if kind == PICTURE else (6 << 10, 1.5, 2 << 20)
        return 40 + min(most, int(middle * self._source.lognormvariate(0, width)))

    def _some(self, count: int) -> list[str]:
        return self._source.choices(self.words[:9000], k=count)

    def _phrases(self, count: int) -> list[str]:
        return [" ".join(self._some(self._source.randint(2, 6))) + " " for _ in range(count)]

    def _urn(self, frequent: list[str], *others: list[str]) -> list[bytes]:
        """Return 2**16 words: a sixth of them the frequent ones, of the others the n-th about n**-0.65 times."""
        rest = [word for words in others for word in words]
        self._source.shuffle(rest)
        weights = [(n + 3) ** -0.65 for n in range(len(rest))]
        drawn = self._source.choices(rest, weights, k=65_536 - 11_000)
        return [word.encode() for word in (*drawn, *self._source.choices(frequent, k=11_000))]
