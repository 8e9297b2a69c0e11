"""What a process may use that loads a model for the first time: memory, time, and nothing of the world around it.

On Linux a filter in the kernel (seccomp) refuses what loading a model does not need: sockets, programs, processes, and
changing files. Elsewhere, and on processors whose system calls are not listed here, memory, time and the size of
files are limited all the same.
"""

import ctypes
import errno
import os
import platform
import resource
import struct
import sys

# What loading takes beside the arrays: a copy while they are read, threads with their stacks, the golden predictions.
MEMORY_BESIDE = 2 * 1024**3
MEMORY_TIMES = 4

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, REFUSE, UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
OTHER_NUMBERS = 0x40000000  # from here on, the same calls once more, on kernels with x32
NUMBER, ARCHITECTURE = 0, 4  # where they stand in what the filter is shown
CLONE_THREAD = 0x00010000
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# By name, with the numbers on x86-64 and on aarch64 (None where there is no such call); from the kernel's own tables.
REFUSED = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "creat": (85, None),
    "openat2": (437, 437),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "mount": (165, 40),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kill": (62, 129),
    "tkill": (200, 130),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "setxattr": (188, 5),
}
CLONE, CLONE3, OPEN, OPENAT = (56, 220), (435, 435), (2, None), (257, 56)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def limit(memory_bytes: int, seconds: int) -> None:
    """Limit this process for good: so much memory beyond what it has, so much time on each core, and no files."""
    if sys.platform == "linux":  # elsewhere the address space is shared with the system's libraries
        _lower(resource.RLIMIT_AS, _address_space() + memory_bytes)
    _lower(resource.RLIMIT_CPU, seconds * (os.cpu_count() or 1))
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    refuse_the_world()


def memory_for(inflated_bytes: int) -> int:
    """Return how much memory a load may take whose arrays have so many bytes."""
    return MEMORY_BESIDE + MEMORY_TIMES * inflated_bytes


def _lower(what: int, limit: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(what, (limit, limit))


def _address_space() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def refuse_the_world() -> bool:
    """Make the kernel refuse system calls that loading a model does not need; return whether that worked."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return False
    program = _filter(*MACHINES[platform.machine()])
    instructions = ctypes.create_string_buffer(program, len(program))
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0) == 0)


def _filter(column: int, architecture: int) -> bytes:
    """Return the filter as a program for the kernel, eight bytes for each instruction."""
    program = [(LOAD, 0, 0, ARCHITECTURE), (JUMP_EQUAL, 1, 0, architecture), (RETURN, 0, 0, REFUSE)]
    program += [(LOAD, 0, 0, NUMBER), (JUMP_AT_LEAST, 0, 1, OTHER_NUMBERS), (RETURN, 0, 0, REFUSE)]
    for numbers in REFUSED.values():
        program += _when(numbers[column], [(RETURN, 0, 0, REFUSE)])
    # glibc asks clone3 first, whose arguments no filter can see, and takes clone where there is none.
    program += _when(CLONE3[column], [(RETURN, 0, 0, UNKNOWN)])
    thread = [(LOAD, 0, 0, _argument(0)), (JUMP_ANY_BIT, 1, 0, CLONE_THREAD), (RETURN, 0, 0, REFUSE)]
    program += _when(CLONE[column], [*thread, (RETURN, 0, 0, ALLOW)])
    for numbers, place in ((OPEN, 1), (OPENAT, 2)):
        writing = [(LOAD, 0, 0, _argument(place)), (JUMP_ANY_BIT, 0, 1, WRITING), (RETURN, 0, 0, REFUSE)]
        program += _when(numbers[column], [*writing, (RETURN, 0, 0, ALLOW)])
    program += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _when(number: int | None, then: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    return [] if number is None else [(JUMP_EQUAL, 0, len(then), number), *then]


def _argument(place: int) -> int:
    """Return where the lower half of an argument stands in what the filter is shown."""
    return 16 + 8 * place
