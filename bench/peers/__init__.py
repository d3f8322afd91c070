"""This project beside its peers, on the same bytes, in the same rounds: `python -m bench.peers --help`.

Top to bottom; a module imports only what stands below it:

    __main__      the command line, and the rounds
    report plot   tables and a picture of figures
    wins          where a peer is better
    parts copy    what is measured, part by part; a plain copy as the limit
    bench         what a part needs: tools, work, and where figures go
    work          a week of backups, made or given
    tools borg    the tools, each with its command lines
    tool          what every tool must be able to do
    steps         the steps in words, and what is expected of each
    results       figures by step and tool, in a file
    ssh           a server, near or far
    install       programs that are there, or can be had
    measure       one command: wall time, CPU time, peak memory
    machine       what it is measured on
"""
