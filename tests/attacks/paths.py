"""Every path to a file of the person that is not shown inside.

Arguments: the file's absolute path, and the text that it holds.
"""

import os
import sys

path, text = sys.argv[1], sys.argv[2].encode()


def read(what, candidate):
    try:
        with open(candidate, "rb") as file:
            if text in file.read(1 << 16):
                print("escaped:", what)
    except OSError:
        pass


read("as it is", path)
for process in ("self", "1", str(os.getppid()), "thread-self"):
    for link in ("root", "cwd"):
        read(f"/proc/{process}/{link}", f"/proc/{process}/{link}{path}")
        read(f"/proc/{process}/{link} upwards", f"/proc/{process}/{link}/" + "../" * 20 + path)
read("upwards", "../" * 20 + path)
read("upwards through a file", "a-file/" + "../" * 20 + path)

for name, make in (("symbolic", os.symlink), ("hard", os.link)):
    try:
        make(path, f"{name}-link")
        read(f"a {name} link", f"{name}-link")
    except OSError:
        pass
try:
    os.symlink(os.path.dirname(path), "folder-link")
    read("a linked folder", "folder-link/" + os.path.basename(path))
    read("a linked folder, upwards", "folder-link/../" + os.path.basename(os.path.dirname(path)) + "/" + os.path.basename(path))
except OSError:
    pass

# From a descriptor of the workspace, upwards.
folder = os.open(".", os.O_PATH)
for depth in range(1, 12):
    try:
        above = os.open("../" * depth + path.lstrip("/"), os.O_RDONLY, dir_fd=folder)
        if text in os.read(above, 1 << 16):
            print("escaped: from a descriptor, upwards")
    except OSError:
        pass

# Other spellings of what is hidden.
head, tail = os.path.split(path)
for spelling in (tail.upper(), tail.capitalize(), tail + ".", tail + " ", tail + "/", "./" + tail, tail + "\u200c"):
    read(f"spelt {spelling!r}", os.path.join(head, spelling))
print("done")
