"""Calls that change files, with what each of them gave: the same lines must come of it whether the tree is mediated or not.

First each call with the arguments that matter, then a long walk of random calls over few names (argument 1: its seed), so that names
meet: links to links, files over folders, open files without a name.
"""

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import random
import socket
import stat
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
lines = []


def say(name, result):
    lines.append(f"{name}: {result}")


def attempt(name, call, *arguments, show=True, **more):
    try:
        result = call(*arguments, **more)
        say(name, "ok" if result is None or not show else result)
        return result
    except OSError as error:
        say(name, errno.errorcode.get(error.errno, error.errno))


def system(name, *arguments):
    """A call that Python has no name for."""
    number = {"renameat2": 316, "linkat": 265, "fchmodat2": 452, "utime": 132, "utimes": 235, "creat": 85,
              "futimesat": 261, "truncate": 76, "mknod": 133}[name]
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def c(text):
    return ctypes.c_char_p(os.fsencode(text))


def opening(name, path, flags, mode=0o666, data=None, dir_fd=None):
    """Opens, says what the descriptor is, writes."""
    try:
        fd = os.open(path, flags, mode, dir_fd=dir_fd)
    except OSError as error:
        say(name, errno.errorcode.get(error.errno, error.errno))
        return None
    status = os.fstat(fd)
    kept = fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC)
    say(name, f"{stat.filemode(status.st_mode)} {status.st_size} links {status.st_nlink} flags {kept:o} "
              f"exec {fcntl.fcntl(fd, fcntl.F_GETFD)}")
    if data is not None:
        attempt(name + " write", os.write, fd, data)
    return fd


def close(fd):
    if fd is not None:
        os.close(fd)


def tree(top):
    for folder, folders, files in sorted(os.walk(top)):
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except OSError as error:
                say("tree", f"{errno.errorcode[error.errno]} {os.path.relpath(path, top)}")
                continue
            what = stat.filemode(status.st_mode)
            more = ""
            if stat.S_ISLNK(status.st_mode):
                more = os.readlink(path)
            elif stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK):
                more = f"{status.st_size} {hashlib.sha256(open(path, 'rb').read()).hexdigest()[:12]} links {status.st_nlink}"
            say("tree", f"{what} {os.path.relpath(path, top)} {more}")


def each_call():
    R, W, RW, CREAT, EXCL, TRUNC = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_EXCL, os.O_TRUNC
    cwd = os.getcwd()
    # Opening.
    close(opening("create", "a", W | CREAT, data=b"one"))
    close(opening("create again", "a", W | CREAT | EXCL))
    close(opening("open to write", "a", W, data=b"ON"))
    close(opening("open to read", "a", R))
    close(opening("append", "a", W | os.O_APPEND, data=b"two"))
    close(opening("read and write", "a", RW))
    close(opening("truncate", "a", W | TRUNC, data=b"three"))
    close(opening("truncate reading", "a", R | TRUNC))
    close(opening("create what is there to read", "a", R | CREAT))
    close(opening("create to read", "only-read", R | CREAT, 0o600))
    close(opening("create without rights", "sealed", W | CREAT, 0o000, data=b"x"))
    close(opening("open sealed", "sealed", W))
    close(opening("create sealed", "sealed", W | CREAT))
    close(opening("missing", "missing", W))
    close(opening("missing folder", "missing/a", W | CREAT))
    close(opening("below a file", "a/b", W | CREAT))
    close(opening("slash", "new/", W | CREAT))
    close(opening("slash there", "a/", W | CREAT))
    close(opening("folder", ".", W))
    close(opening("folder creating", ".", W | CREAT))
    close(opening("dots", "..", RW))
    close(opening("empty", "", W | CREAT))
    close(opening("long", "n" * 300, W | CREAT))
    close(opening("long path", "/".join(["n"] * 3000), W | CREAT))
    close(opening("not inherited", "a", W | os.O_CLOEXEC))
    close(opening("no block", "a", W | os.O_NONBLOCK | os.O_SYNC))
    close(opening("path only", "a", os.O_PATH))
    close(opening("path only, creating", "none", os.O_PATH | CREAT))
    close(opening("folder wanted", "a", W | os.O_DIRECTORY))
    close(opening("folder wanted, creating", "b-folder", R | CREAT | os.O_DIRECTORY))
    close(opening("absolute", cwd + "/absolute", W | CREAT, data=b"x"))
    close(opening("roundabout", cwd + "/../" + os.path.basename(cwd) + "/./absolute", W | TRUNC))
    close(opening("elsewhere", "/tmp/elsewhere", W | CREAT, data=b"x"))
    close(opening("the system's", "/etc/hosts", W))
    close(opening("the system's, new", "/etc/new", W | CREAT))
    close(opening("null", "/dev/null", W | CREAT | TRUNC, data=b"x"))
    unnamed = opening("unnamed", ".", RW | os.O_TMPFILE, 0o640, data=b"unnamed")
    attempt("name it", system, "linkat", -100, c(f"/proc/self/fd/{unnamed}"), -100, c("named"), 0x400)
    attempt("name it again", system, "linkat", -100, c(f"/proc/self/fd/{unnamed}"), -100, c("named"), 0x400)
    close(unnamed)
    close(opening("unnamed elsewhere", "/tmp", RW | os.O_TMPFILE, 0o640, data=b"unnamed"))
    close(opening("unnamed in a file", "a", RW | os.O_TMPFILE))
    attempt("creat", lambda: os.close(system("creat", c("by-creat"), 0o644)))
    # Masks.
    for mask in (0o077, 0o000, 0o022):
        os.umask(mask)
        close(opening(f"mask {mask:o}", f"mask-{mask:o}", W | CREAT))
        attempt(f"mask {mask:o} folder", os.mkdir, f"mask-folder-{mask:o}")
        attempt(f"mask {mask:o} pipe", os.mkfifo, f"mask-pipe-{mask:o}")
    # Folders, links.
    attempt("mkdir", os.mkdir, "d", 0o750)
    attempt("mkdir again", os.mkdir, "d")
    attempt("mkdir slash", os.mkdir, "slashed/")
    attempt("mkdir over a file", os.mkdir, "a")
    attempt("mkdir below nothing", os.mkdir, "x/y")
    attempt("mkdir dot", os.mkdir, ".")
    attempt("mkdir root", os.mkdir, "/")
    attempt("symlink", os.symlink, "a", "l")
    attempt("symlink again", os.symlink, "a", "l")
    attempt("symlink to nothing", os.symlink, "nothing", "dangling")
    attempt("symlink to a folder", os.symlink, "d", "ld")
    attempt("symlink out", os.symlink, "/tmp/elsewhere", "out")
    attempt("symlink out to a folder", os.symlink, "/tmp", "lout")
    attempt("symlink absolute", os.symlink, cwd + "/a", "labs")
    attempt("symlink in", os.symlink, cwd + "/a", "/tmp/in")
    attempt("symlink in, dangling", os.symlink, cwd + "/by-tmp", "/tmp/in-new")
    attempt("loop", os.symlink, "loop", "loop")
    attempt("symlink empty", os.symlink, "", "l-empty")
    close(opening("through a link", "l", W | TRUNC, data=b"through"))
    close(opening("through a dangling link", "dangling", W | CREAT, data=b"made"))
    close(opening("through a dangling link, only new", "dangling", W | CREAT | EXCL))
    close(opening("not through a link", "l", W | os.O_NOFOLLOW))
    close(opening("not through a link, creating", "l", W | CREAT | os.O_NOFOLLOW))
    close(opening("through a link and on", "ld/e", W | CREAT, data=b"x"))
    close(opening("through a link out", "out", W | TRUNC, data=b"out"))
    close(opening("through a link out, creating", "out", W | CREAT))
    close(opening("through a folder out", "lout/e2", W | CREAT))
    close(opening("through a link in", "/tmp/in", W | os.O_APPEND, data=b"in"))
    close(opening("through a link in, creating", "/tmp/in", W | CREAT))
    close(opening("through a dangling link in", "/tmp/in-new", W | CREAT, data=b"new"))
    close(opening("through an absolute link", "labs", W | CREAT))
    close(opening("loop", "loop", W | CREAT))
    folder = os.open("d", os.O_RDONLY)
    close(opening("relative to a folder", "f", W | CREAT, data=b"f", dir_fd=folder))
    close(opening("relative to a folder and out", "../a", W, dir_fd=folder))
    attempt("mkdirat", os.mkdir, "sub", 0o700, dir_fd=folder)
    attempt("symlinkat", os.symlink, "f", "lf", dir_fd=folder)
    attempt("unlinkat", os.unlink, "lf", dir_fd=folder)
    attempt("mknod pipe", os.mkfifo, "pipe", 0o600)
    attempt("mknod file", os.mknod, "regular", stat.S_IFREG | 0o640)
    attempt("mknod device", os.mknod, "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    attempt("mknod socket", os.mknod, "socket", stat.S_IFSOCK | 0o600)
    close(opening("pipe, nobody reads", "pipe", W | os.O_NONBLOCK))
    close(opening("pipe, both", "pipe", RW | os.O_NONBLOCK))
    close(opening("socket file", "socket", W))
    attempt("link", os.link, "a", "hard")
    attempt("link again", os.link, "a", "hard")
    attempt("link a folder", os.link, "d", "hard-d")
    attempt("link a link", os.link, "l", "hard-l", follow_symlinks=False)
    attempt("link through a link", system, "linkat", -100, c("l"), -100, c("hard-l2"), 0x400)
    attempt("link nothing", os.link, "missing", "hard-m")
    attempt("link out", os.link, "a", "/tmp/hard")
    attempt("link in", os.link, "/tmp/elsewhere", "hard-in")
    # Renaming.
    attempt("rename", os.rename, "named", "named2")
    attempt("rename nothing", os.rename, "named", "x")
    attempt("rename over", os.rename, "absolute", "named2")
    attempt("rename over a folder", os.rename, "named2", "d")
    attempt("rename a folder over a file", os.rename, "d", "named2")
    attempt("rename a folder", os.rename, "mask-folder-0", "moved")
    attempt("rename a folder with a slash", os.rename, "moved/", "moved2/")
    attempt("rename a file with a slash", os.rename, "named2", "named3/")
    attempt("rename over an empty folder", os.rename, "moved2", "mask-folder-22")
    attempt("rename over a full folder", os.rename, "mask-folder-22", "d")
    attempt("rename into itself", os.rename, "d", "d/sub/d")
    attempt("rename out", os.rename, "named2", "/tmp/named2")
    attempt("rename in", os.rename, "/tmp/elsewhere", "in")
    attempt("rename dot", os.rename, ".", "dot")
    attempt("rename link", os.rename, "l-empty" if os.path.lexists("l-empty") else "l", "l2")
    attempt("rename same", os.rename, "a", "hard")
    attempt("rename no replace", system, "renameat2", -100, c("named2"), -100, c("a"), 1)
    attempt("rename no replace, free", system, "renameat2", -100, c("named2"), -100, c("named4"), 1)
    attempt("exchange", system, "renameat2", -100, c("named4"), -100, c("d"), 2)
    attempt("exchange back", system, "renameat2", -100, c("named4"), -100, c("d"), 2)
    attempt("exchange with nothing", system, "renameat2", -100, c("named4"), -100, c("nothing-here"), 2)
    attempt("rename odd flags", system, "renameat2", -100, c("named4"), -100, c("d"), 64)
    # Attributes.
    attempt("chmod", os.chmod, "a", 0o604)
    attempt("chmod nothing", os.chmod, "missing", 0o600)
    attempt("chmod through a link", os.chmod, "labs", 0o640)
    attempt("chmod dangling", os.chmod, "loop", 0o640)
    attempt("chmod folder", os.chmod, "d", 0o711)
    attempt("chmod relative", os.chmod, "f", 0o600, dir_fd=folder)
    attempt("chmod elsewhere", os.chmod, "/tmp/elsewhere", 0o600)
    attempt("chmod the system's", os.chmod, "/etc/hosts", 0o600)
    attempt("fchmodat2 link itself", system, "fchmodat2", -100, c("labs"), 0o600, 0x100)
    attempt("fchmodat2 empty", system, "fchmodat2", folder, c(""), 0o755, 0x1000)
    reading = os.open("a", R)
    attempt("fchmod of one that reads", os.fchmod, reading, 0o644)
    attempt("fchmod of a folder", os.fchmod, folder, 0o755)
    attempt("fchown of one that reads", os.fchown, reading, -1, -1)
    attempt("futimens of one that reads", os.utime, reading, ns=(10**18, 10**18 + 5))
    attempt("times", lambda: (os.stat(reading).st_atime_ns, os.stat(reading).st_mtime_ns))
    attempt("ftruncate of one that reads", os.ftruncate, reading, 1)
    attempt("write of one that reads", os.write, reading, b"x")
    writing = os.open("a", W)
    attempt("fchmod of one that writes", os.fchmod, writing, 0o640)
    attempt("ftruncate", os.ftruncate, writing, 2)
    attempt("fallocate", os.posix_fallocate, writing, 0, 5000)
    attempt("lock", fcntl.flock, writing, fcntl.LOCK_EX | fcntl.LOCK_NB)
    attempt("lock of another", fcntl.flock, reading, fcntl.LOCK_EX | fcntl.LOCK_NB)
    attempt("range lock", fcntl.lockf, writing, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
    attempt("fsync", os.fsync, writing)
    close(writing)
    close(reading)
    attempt("chown", os.chown, "a", os.getuid(), os.getgid())
    attempt("chown to another", os.chown, "a", os.getuid() + 1, -1)
    attempt("lchown", os.lchown, "labs", -1, os.getgid())
    attempt("chown nothing", os.chown, "missing", -1, -1)
    attempt("utime", os.utime, "a", (5, 7))
    attempt("utime link", os.utime, "labs", (5, 9), follow_symlinks=False)
    attempt("utime now", os.utime, "d")
    attempt("utime nothing", os.utime, "missing")
    attempt("utime call", system, "utime", c("a"), struct.pack("qq", 11, 12))
    attempt("times", lambda: (os.stat("a").st_atime_ns, os.stat("a").st_mtime_ns))
    attempt("utimes call", system, "utimes", c("a"), struct.pack("qqqq", 11, 12, 13, 14))
    attempt("utimes call, nonsense", system, "utimes", c("a"), struct.pack("qqqq", 11, -1, 13, 14))
    attempt("times", lambda: (os.stat("a").st_atime_ns, os.stat("a").st_mtime_ns))
    attempt("futimesat call", system, "futimesat", folder, c("f"), struct.pack("qqqq", 1, 2, 3, 4))
    attempt("utime of the system's", os.utime, "/etc/hosts")
    attempt("truncate", os.truncate, "a", 10)
    attempt("truncate more", os.truncate, "a", 100)
    attempt("truncate negative", system, "truncate", c("a"), ctypes.c_long(-1))
    attempt("truncate a folder", os.truncate, "d", 0)
    attempt("truncate sealed", os.truncate, "sealed", 0)
    attempt("truncate nothing", os.truncate, "missing", 0)
    attempt("truncate a pipe", os.truncate, "pipe", 0)
    attempt("setxattr", os.setxattr, "a", "user.a", b"value")
    attempt("setxattr only new", os.setxattr, "a", "user.a", b"other", os.XATTR_CREATE)
    attempt("setxattr replace nothing", os.setxattr, "a", "user.b", b"other", os.XATTR_REPLACE)
    attempt("setxattr trusted", os.setxattr, "a", "trusted.a", b"x")
    attempt("setxattr nonsense", os.setxattr, "a", "a", b"x")
    attempt("setxattr link", os.setxattr, "labs", "user.a", b"x", follow_symlinks=False)
    attempt("getxattr", os.getxattr, "a", "user.a")
    attempt("removexattr", os.removexattr, "a", "user.a")
    attempt("removexattr nothing", os.removexattr, "a", "user.a")
    writing = os.open("a", RW)
    attempt("fsetxattr", os.setxattr, writing, "user.c", b"c")
    close(writing)
    # Asking.
    for path in ("a", "sealed", "d", "missing", "labs", "/etc/hosts", "/tmp", "."):
        attempt(f"may write {path}", os.access, path, os.W_OK)
        attempt(f"may do all {path}", os.access, path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
    # Memory.
    writing = os.open("a", RW)
    with mmap.mmap(writing, 10) as memory:
        memory[0:3] = b"map"
    close(writing)
    # Removing.
    attempt("unlink", os.unlink, "hard")
    attempt("unlink nothing", os.unlink, "hard")
    attempt("unlink a folder", os.unlink, "d")
    attempt("unlink a slash", os.unlink, "a/")
    attempt("unlink a link", os.unlink, "ld")
    attempt("unlink dot", os.unlink, ".")
    attempt("unlink the system's", os.unlink, "/etc/hosts")
    attempt("rmdir full", os.rmdir, "d")
    attempt("rmdir", os.rmdir, "mask-folder-22")
    attempt("rmdir nothing", os.rmdir, "mask-folder-22")
    attempt("rmdir a file", os.rmdir, "a")
    attempt("rmdir dot", os.rmdir, ".")
    attempt("rmdir dots", os.rmdir, "d/..")
    attempt("rmdir slash", os.rmdir, "slashed/")
    # Sockets.
    for name, path in (("relative", "s1"), ("absolute", cwd + "/s2"), ("elsewhere", "/tmp/s3"), ("abstract", "\0s4"),
                       ("taken", "a"), ("below nothing", "x/s")):
        server = socket.socket(socket.AF_UNIX)
        attempt(f"bind {name}", server.bind, path)
        attempt(f"bind {name}, name", lambda: server.getsockname() in (path, path.encode(), b""))
        if server.getsockname():
            attempt(f"listen {name}", server.listen)
            client = socket.socket(socket.AF_UNIX)
            attempt(f"connect {name}", client.connect, path)
            client.close()
        server.close()
    # Descriptors by their names.
    for place in ("/proc/self/fd", "/proc/thread-self/fd", "/dev/fd"):
        fd = opening(f"{place}, file", "named-by-number", RW | CREAT, data=b"xyz")
        name = f"{place}/{fd}"
        attempt(f"{place}, chmod", os.chmod, name, 0o640)
        attempt(f"{place}, chown", os.chown, name, -1, -1)
        attempt(f"{place}, truncate", os.truncate, name, 2)
        attempt(f"{place}, access", os.access, name, os.W_OK)
        attempt(f"{place}, utime", os.utime, name, (5, 6))
        attempt(f"{place}, content", lambda: (os.fstat(fd).st_mode, os.fstat(fd).st_mtime, os.pread(fd, 9, 0)))
        for flags in (W, RW, W | CREAT, W | os.O_TRUNC, W | CREAT | os.O_EXCL, W | os.O_NOFOLLOW, RW | os.O_APPEND):
            close(opening(f"{place}, anew {flags}", name, flags, data=b"a"))
            attempt(f"{place}, then", os.pread, fd, 9, 0)
        attempt(f"{place}, unlink", os.unlink, name)
        attempt(f"{place}, rename", os.rename, name, "taken-over")
        attempt(f"{place}, number", os.chmod, f"{place}/+{fd}", 0o600)
        os.unlink("named-by-number")
        close(fd)
    # Where the folder is gone.
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir(cwd + "/gone")
    close(opening("in a folder that is gone", "x", W | CREAT))
    attempt("mkdir in a folder that is gone", os.mkdir, "x")
    attempt("unlink in a folder that is gone", os.unlink, "x")
    os.chdir(cwd)
    os.mkdir("moving")
    os.chdir("moving")
    os.rename(cwd + "/moving", cwd + "/moved-away")
    close(opening("in a folder that moved", "x", W | CREAT, data=b"x"))
    attempt("up from there", os.mkdir, "../beside")
    os.chdir(cwd)
    attempt("open file removed", lambda: opening("still there", "gone-file", RW | CREAT, data=b"x"))
    os.close(folder)
    attempt("bad descriptor", os.mkdir, "x", dir_fd=folder)
    attempt("bad descriptor fchmod", os.fchmod, folder, 0o600)


def random_calls(seed, count):
    choose = random.Random(seed)
    os.mkdir("random")
    os.chdir("random")
    names = ["a", "b", "c", "d", "d/e", "d/f", "a/b", "../random/c", "d/e/g", "l/x"]
    descriptors = []
    for number in range(count):
        one, other = choose.choice(names), choose.choice(names)
        kind = choose.randrange(20)
        label = f"{number} {kind} {one} {other}"
        if kind < 5:
            flags = choose.choice([os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
            for more in (os.O_CREAT, os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW):
                if choose.random() < 0.4:
                    flags |= more
            if flags & os.O_EXCL and not flags & os.O_CREAT:
                flags &= ~os.O_EXCL
            fd = opening(label, one, flags | os.O_NONBLOCK, choose.choice([0o644, 0o600, 0o400]))
            if fd is not None:
                descriptors.append(fd)
        elif kind < 8 and descriptors:
            fd = choose.choice(descriptors)
            attempt(label, os.write, fd, os.fsencode(label))
        elif kind == 8 and descriptors:
            os.close(descriptors.pop(choose.randrange(len(descriptors))))
        elif kind == 9:
            attempt(label, os.mkdir, one, choose.choice([0o755, 0o700]))
        elif kind == 10:
            attempt(label, os.rmdir, one)
        elif kind == 11:
            attempt(label, os.unlink, one)
        elif kind in (12, 13):
            attempt(label, os.rename, one, other)
        elif kind == 14:
            attempt(label, os.symlink, choose.choice(["d", "../random/d", "a", os.getcwd() + "/c"]), one)
        elif kind == 15:
            attempt(label, os.link, one, other, follow_symlinks=choose.random() < 0.5)
        elif kind == 16:
            attempt(label, os.chmod, one, choose.choice([0o644, 0o755, 0o700]))
        elif kind == 17:
            attempt(label, os.truncate, one, choose.randrange(100))
        elif kind == 18 and descriptors:
            attempt(label, os.ftruncate, choose.choice(descriptors), choose.randrange(100))
        elif kind == 19:
            attempt(label, system, "renameat2", -100, c(one), -100, c(other), choose.choice([1, 2]))
    for fd in descriptors:
        os.close(fd)
    os.chdir("..")


each_call()
random_calls(int(sys.argv[1]), 3000)
tree(".")
print("\n".join(lines))
