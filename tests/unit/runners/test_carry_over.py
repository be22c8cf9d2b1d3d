"""What one candidate plants, the next one out of the same warm process does not find."""

from pathlib import Path
from typing import Any

PLANT = """
import builtins, ctypes, gc, os, random, signal, socket, sys, threading, time, torch
from everforge.runners.isolation import channel
from everforge.runners import worker

# In the process: modules, PyTorch, the interpreter, the harness.
torch.planted = builtins.planted = sys.planted = os.planted = worker.planted = 'x'
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(7)
random.seed(7)
torch.use_deterministic_algorithms(True)
torch.backends.cuda.matmul.allow_tf32 = True
torch.nn.functional.relu = lambda x: x * 0
torch.Tensor.__add__ = lambda *_: torch.zeros(1)
sys.path.insert(0, '/planted')
sys.settrace(lambda *_: None)
time.perf_counter = lambda: 0.0
gc.disable()
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
os.environ['PLANTED'] = 'x'
ctypes.CDLL(None).setenv(b'PLANTED', b'x', 1)
threading.Thread(target=time.sleep, args=(300,), daemon=True).start()

# In files: wherever it may write.
for place in (os.getcwd(), os.environ['TMPDIR'], os.environ['HOME'], '/tmp', '/dev/shm', '/dev/mqueue', '/var/tmp',
              '/run/lock', '/var/lock', '/srv', '/mnt', '/proc/self', '/sys/fs/cgroup', '/etc', '/usr/local'):
    try:
        with open(place + '/planted', 'w') as file:
            file.write('x')
        os.chmod(place + '/planted', 0o777)
    except OSError:
        pass

# In the kernel: shared memory, queues, semaphores, sockets without a path, keys.
libc = ctypes.CDLL(None, use_errno=True)
KEY = 0x1357
kernel_objects = [libc.shmget(KEY, 4096, 0o1666), libc.msgget(KEY, 0o1666), libc.semget(KEY, 1, 0o1666)]
try:
    kernel_objects.append(libc.mq_open(b'/planted', os.O_CREAT | os.O_RDWR, 0o666, None))
except AttributeError:
    pass
listener = socket.socket(socket.AF_UNIX)
listener.bind('\\0planted')
listener.listen()

# In processes: a daemon of another name, with another priority and other limits.
os.nice(5)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
started, starting = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp('sleep', ['planted-daemon', '300'])
    os._exit(0)
os.close(starting)
os.read(started, 1)  # ends when the daemon's exec has closed the other end
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
os.umask(0o777)
found = {'kernel': len([one for one in kernel_objects if one >= 0]), 'uid': os.getuid(), 'where': os.getcwd()}
"""

LOOK = """
import builtins, ctypes, gc, os, random, resource, signal, socket, sys, threading, time, torch
from everforge.runners import worker
libc = ctypes.CDLL(None, use_errno=True)
libc.getenv.restype = ctypes.c_char_p
KEY = 0x1357

def readable(place):
    return os.path.exists(place + '/planted')

def connects():
    try:
        socket.socket(socket.AF_UNIX).connect('\\0planted')
    except OSError:
        return False
    return True

def commands():
    for pid in os.listdir('/proc'):
        if pid.isdigit():
            try:
                with open(f'/proc/{pid}/cmdline', 'rb') as file:
                    yield file.read().split(b'\\0')[0].decode(errors='replace')
            except OSError:
                pass

found = {
    'names': [m.__name__ for m in (torch, builtins, sys, os, worker) if hasattr(m, 'planted')],
    'dtype': str(torch.get_default_dtype()),
    'threads': torch.get_num_threads(),
    'seeds': [torch.initial_seed() == 7, torch.rand(3).tolist(), random.random()],
    'deterministic': torch.are_deterministic_algorithms_enabled(),
    'relu': torch.nn.functional.relu(torch.ones(1)).item(),
    'sum': (torch.ones(1) + 1).item(),
    'path': '/planted' in sys.path,
    'trace': sys.gettrace() is None,
    'clock': time.perf_counter() > 0,
    'gc': gc.isenabled(),
    'signal': signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL,
    'environment': ['PLANTED' in os.environ, libc.getenv(b'PLANTED') is None],
    'python threads': threading.active_count(),
    'files': [place for place in (os.getcwd(), '/tmp', '/dev/shm', '/dev/mqueue', '/var/tmp', '/run/lock', '/var/lock',
                                  '/srv', '/mnt', '/sys/fs/cgroup', '/etc', '/usr/local') if readable(place)],
    'listing': sorted(os.listdir('.')),
    'shared': [libc.shmget(KEY, 0, 0), libc.msgget(KEY, 0), libc.semget(KEY, 0, 0)],
    'queue': libc.mq_open(b'/planted', os.O_RDWR) if hasattr(libc, 'mq_open') else -1,
    'socket': connects(),
    'daemon': 'planted-daemon' in list(commands()),
    'nice': os.nice(0),
    'cores': len(os.sched_getaffinity(0)),
    'policy': os.sched_getscheduler(0),
    'open files': resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    'mask': os.umask(0o22),
    'uid': os.getuid(),
    'where': os.getcwd(),
    'modules': sorted(name for name in sys.modules if 'planted' in name or 'candidate' in name),
}
"""
# What may differ between two workers, whoever was there before.
OWN = {"uid", "where", "seeds"}


def test_second_candidate_finds_what_a_first_one_would(confidant: Any) -> None:
    confidant.need("pids", "network", "ipc", "files", "uid")
    clean = confidant.find(LOOK)
    planted = confidant.find(PLANT)
    after = confidant.find(LOOK)
    assert {name: value for name, value in after.items() if name not in OWN} == {
        name: value for name, value in clean.items() if name not in OWN
    }
    assert planted["kernel"] >= 3, "nothing was planted, so nothing was proven"
    assert after["uid"] not in (planted["uid"], clean["uid"])
    assert after["where"] != planted["where"]


def test_what_was_planted_would_have_been_found(confidant: Any) -> None:
    confidant.need("pids", "network", "ipc", "files", "uid")
    clean = confidant.find(LOOK)
    with confidant.nursery.worker(confidant.limits) as worker:
        confidant.ask(worker, PLANT)
        there = confidant.ask(worker, LOOK)
    # A candidate's module is there when it looks, and no privilege is left to change the scheduler's policy with.
    unchanged = {name for name in clean if there[name] == clean[name]}
    assert unchanged <= {"policy", "modules", "cores", "threads"}, "this would not be noticed"


def test_seeds_of_two_candidates_are_what_a_fresh_interpreter_has(confidant: Any) -> None:
    first, second = (confidant.find("import torch\nfound = torch.initial_seed()") for _ in range(2))
    confidant.find("import torch\ntorch.manual_seed(7)\nfound = 0")
    assert confidant.find("import torch\nfound = torch.initial_seed() == 7") is False
    assert first == second


def test_nothing_of_a_candidate_is_left_on_the_machine(confidant: Any) -> None:
    confidant.need("pids", "ipc", "files")
    planted = confidant.find(PLANT)
    assert not Path(planted["where"]).exists()
    assert not [place for place in ("/tmp", "/dev/shm", "/var/tmp", "/dev/mqueue") if Path(place, "planted").exists()]
    assert not [line for line in Path("/proc/sysvipc/shm").read_text().splitlines() if line.split()[0] == str(0x1357)]


def test_deep_directories_and_closed_ones_do_not_outlive_their_worker(confidant: Any) -> None:
    body = """
import os
for _ in range(3000):
    os.mkdir('d')
    os.chdir('d')
os.mkdir('closed', 0o000)
"""
    with confidant.nursery.worker(confidant.limits) as worker:
        where = Path(confidant.ask(worker, "import os\nfound = os.getcwd()"))
        assert confidant.load(worker, body) == {}
    assert not where.exists()


def test_directory_on_a_disk_is_removed_too(confidant: Any) -> None:
    with confidant.nursery.worker(None) as trusted:
        where = Path(confidant.ask(trusted, "import os\nos.makedirs('a/b/c')\nfound = os.getcwd()"))
    assert not where.exists()
    assert where.parent.is_dir()
