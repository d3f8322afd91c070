"""AFS volume dumps: what they say, and how several become one.

    tags        what follows which tag                       used by header, reader, vnodes
    header      the dump's and the volume's headers          used by reader, join
    vnodes      what a vnode's header says                   used by reader, tree
    reader      one dump, walked forward                     used by join
    join        a full and its incrementals, walked at once  used by merge, tree
    merge       one full dump out of several
    acl, directory, names                                    used by tree
    tree        the paths: what `ls`, `extract`, `find` and `diff` see

All of it reads `Stream`s (pipelines/formats/stream.py), forward and once; contents are skipped or copied, never held.
"""
