"""Transcripts: what is typed, what is printed, how it exits.  They run against the real program with real GPG keys.

    # A date that is no date.
    $ dedup list 2026.13.01
    dedup: '2026.13.01' is no date; …
    [exit 2]

A line that begins with a prompt, `$` or `USER@HOST$` or `USER@HOST#`, is typed into a shell on that machine (`$` alone
is Alice's laptop); `> ` continues it.  What follows is what it prints, on both standard streams, and its exit status
unless that is 0.  In a file `*.txt` here a line that begins with `# ` is a comment, and a first line `world: NAME`
names the file in `worlds` that is typed before: its output is not compared.

In a page, each block marked `console` is part of one transcript.  A block that shows no output at all is a list of
commands: they must succeed, and what they print is not compared.

Expected text may hold samples.  These stand for any of their kind: `…` for some text, alone on a line for some lines;
a number of 32 hexadecimal digits or more; a size with its unit; seconds; a percentage.  A moment stands for itself, or
for now.  Runs of spaces are equal.  FINGERPRINT in what is typed is Alice's.  A line that ends in `[y/N] y` is answered
on a terminal.

    python -m tests.transcripts            run all
    python -m tests.transcripts --update   write what is printed now in the place of what does not match: read the diff
"""
