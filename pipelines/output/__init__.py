"""Where bytes go: pipes, new files, trees and tars.

Each module calls only those below it:

| module       | what for |
|---|---|
| `new_tar`    | a new tar out of entries, in the pax format (POSIX.1-2017), as a stream |
| `new_tree`   | files and folders of a stranger's choosing, made below one folder and nowhere else |
| `new_file`   | a new file in a folder that is open: whole under its name, or not there at all |
| `error_tail` | what a program says on its standard error |
| `safe_paths` | which paths and links of a stranger's choosing may be made |
| `file_names` | names of files, which are bytes: shown to people, and written into JSON |
| `pipes`      | pipes and standard streams: whole writes, large buffers |
"""
