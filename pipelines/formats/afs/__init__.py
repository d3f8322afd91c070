"""AFS volume dumps: what they say, and how several become one.

Each module calls only those below it:

| module      | what for |
|---|---|
| `merge`     | one full dump out of a full one and the incrementals after it, valid for `vos restore` |
| `tree`      | the paths of a volume, out of its dumps: what `ls`, `extract`, `find` and `diff` see |
| `join`      | a full dump and its incrementals |
| `reader`    | one volume dump, walked forward: its headers, then vnode by vnode |
| `header`    | the two headers of an AFS volume dump |
| `vnodes`    | what the header of one vnode says |
| `directory` | names in AFS directories |
| `names`     | all names in a volume, by the vnode that they name |
| `tags`      | the letters of AFS volume dumps |

All of it reads `InputStream`s (`formats.stream`), forward and once; contents are skipped or copied, never held.
"""
