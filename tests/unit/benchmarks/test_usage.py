import os
import subprocess
import sys
import uuid

from benchmarks import usage
from benchmarks.usage import Meter

BUSY = """
import sys, time
sys.stdin.readline()
block = bytearray(b"x") * (64 * 1024 * 1024)
begun = time.process_time()
while time.process_time() < begun + 0.3:
    pass
print("worked", flush=True)
sys.stdin.read()
"""


def test_a_meter_sees_the_work_and_the_memory_of_marked_processes():
    mark = f"HOMEOSTAT_TEST={uuid.uuid4().hex}"
    environment = dict([mark.split("=")])
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with Meter(mark) as meter:
            process.stdin.write(b"go\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"worked\n"
    assert 0.25 <= meter.cpu_s < 5
    assert 64 <= meter.peak_mib < 200


def test_work_of_children_that_have_ended_counts():
    before = usage.cpu_s([os.getpid()])
    subprocess.run([sys.executable, "-c", BUSY], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    assert usage.cpu_s([os.getpid()]) - before >= 0.25


def test_a_process_that_has_ended_costs_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert usage.cpu_s([process.pid]) == 0
    assert usage.memory_mib([process.pid]) == 0
