"""What streams are: an AFS volume dump, a tar, or just bytes.

`detect` tells them apart by their first bytes, `wholeness` looks at how they end.
"""
