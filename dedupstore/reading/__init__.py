"""Read streams back: whole, forward, or at any place; every byte is verified.

Each module calls only those below it:

| module            | what for |
|---|---|
| `forward_stream`  | walk a stream forward, and fetch only the contents that are asked for |
| `random_access`   | read a stream at any place, as a mount does |
| `recipe_walk`     | check that recipes are whole and every chunk has a place |
| `stream_reader`   | walk recipes, find the places of chunks, and put streams together |
| `sequence_reader` | walk one sequence of a stream, fetching ahead in parallel |
| `chunk_reader`    | fetch and open blocks, and verify every chunk |

Use `Repository.read`, `open_stream` or `random_reader`.  A chunk that cannot be read is taken from another copy; if
there is none, the error is a `DamageError`: no byte comes back that was not verified.
"""
