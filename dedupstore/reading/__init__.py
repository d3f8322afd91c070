"""Streams come back: whole, walked, or some bytes here and there; every byte is verified.

Each module calls only those below it:

| module            | what for |
|---|---|
| `forward_stream`  | a stored stream that is walked, from its beginning or any position on |
| `random_access`   | any bytes of a stored stream, for who needs some here and some there: a mount |
| `recipe_walk`     | recipes are walked |
| `stream_reader`   | streams come back: recipes are walked, and the places of their chunks found |
| `sequence_reader` | one sequence of a stream, walked forward |
| `chunk_reader`    | chunks come back: blocks are fetched and opened, every chunk verified |
"""
