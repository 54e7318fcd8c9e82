"""Control groups: versions 1, 2 and both, nested, in containers; each a tree of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leeward._sys import cgroup

V2 = "30 25 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "25 20 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
    "31 25 0:27 {top} /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
    "32 25 0:28 {top} /sys/fs/cgroup/memory rw shared:6 master:1 - cgroup cgroup rw,memory\n"
    "33 25 0:29 {top} /sys/fs/cgroup/systemd rw shared:7 - cgroup systemd rw,name=systemd\n"
)
HYBRID = "34 25 0:30 / /sys/fs/cgroup/unified rw shared:8 - cgroup2 cgroup2 rw\n" + V1
NO_LIMIT = "9223372036854771712"


class Tree:
    def __init__(self, root: Path) -> None:
        self.root = root

    def own(self, groups: str, mounts: str, top: str = "/") -> None:
        self.put("proc/self/cgroup", groups)
        self.put("proc/self/mountinfo", mounts.replace("{top}", top))

    def put(self, path: str, content: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    @property
    def answers(self) -> tuple[float | None, int | None, int]:
        root = str(self.root)
        return cgroup.cpu_quota(root), cgroup.memory_limit(root), cgroup.oom_kills(root)


@pytest.fixture
def tree(tmp_path) -> Tree:
    return Tree(tmp_path)


def test_version_2_takes_the_tightest_on_the_way_up(tree):
    """Quota and limit may stand on different levels."""
    tree.own("0::/a.slice/b.service\n", V2)
    tree.put("sys/fs/cgroup/a.slice/cpu.max", "150000 100000\n")
    tree.put("sys/fs/cgroup/a.slice/memory.max", "2000\n")
    tree.put("sys/fs/cgroup/a.slice/memory.events", "oom_kill 900\n")
    tree.put("sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n")
    tree.put("sys/fs/cgroup/a.slice/b.service/memory.max", "1000\n")
    tree.put(
        "sys/fs/cgroup/a.slice/b.service/memory.events",
        "low 0\nhigh 0\nmax 5\noom 4\noom_kill 3\noom_group_kill 1\n",
    )
    assert tree.answers == (1.5, 1000, 3)


def test_version_1_takes_the_tightest_on_the_way_up(tree):
    """Each controller has a tree and a path of its own."""
    tree.own("5:cpu,cpuacct:/docker/x\n4:memory:/m/n\n1:name=systemd:/\n", V1)
    tree.put("sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "-1\n")
    tree.put("sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n")
    tree.put("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "50000\n")
    tree.put("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n")
    tree.put("sys/fs/cgroup/memory/memory.limit_in_bytes", NO_LIMIT)
    tree.put("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "4096")
    tree.put("sys/fs/cgroup/memory/m/n/memory.limit_in_bytes", NO_LIMIT)
    tree.put(
        "sys/fs/cgroup/memory/m/n/memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    )
    assert tree.answers == (0.5, 4096, 2)


def test_both_versions_at_once(tree):
    """The controllers are in version 1, whichever is mounted first."""
    tree.own("5:cpu,cpuacct:/x\n4:memory:/x\n0::/user.slice\n", HYBRID)
    tree.put("sys/fs/cgroup/unified/user.slice/cgroup.procs", "1\n")
    tree.put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "300000")
    tree.put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000")
    tree.put("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "123")
    tree.put("sys/fs/cgroup/memory/x/memory.oom_control", "oom_kill 1\n")
    assert tree.answers == (3.0, 123, 1)


def test_a_container_with_a_namespace_of_its_own(tree):
    """/proc/self/cgroup says 0::/ and the limits stand in what is mounted."""
    tree.own("0::/\n", V2)
    tree.put("sys/fs/cgroup/cpu.max", "200000 100000\n")
    tree.put("sys/fs/cgroup/memory.max", "777\n")
    tree.put("sys/fs/cgroup/memory.events", "oom_kill 4\n")
    assert tree.answers == (2.0, 777, 4)


@pytest.mark.parametrize("mounts", [V1, V2])
def test_a_container_without_a_namespace_of_its_own(tree, mounts):
    """The path is the host's, and only that group is mounted."""
    path = "/docker/1234"
    tree.own(f"5:cpu,cpuacct:{path}\n4:memory:{path}\n0::{path}\n", mounts, top=path)
    tree.put("sys/fs/cgroup/cpu.max", "100000 100000\n")
    tree.put("sys/fs/cgroup/memory.max", "55\n")
    tree.put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000")
    tree.put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
    tree.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "55")
    assert tree.answers[:2] == (1.0, 55)


def test_a_group_inside_a_containers_group(tree):
    """Below what is mounted the walk goes on from there."""
    tree.own("0::/docker/1234/inner\n", V2, top="/docker/1234")
    tree.put("sys/fs/cgroup/memory.max", "55\n")
    tree.put("sys/fs/cgroup/inner/memory.max", "44\n")
    assert tree.answers[1] == 44


def test_mounts_of_other_groups_do_not_concern_us(tree):
    """Another container's group, with its limits, may be mounted somewhere too."""
    tree.own("0::/user.slice\n", V2 + V2.replace("/sys/fs/cgroup", "/srv/other"), top="/docker/9")
    tree.put("sys/fs/cgroup/memory.max", "1\n")
    tree.put("srv/other/memory.max", "1\n")
    assert tree.answers[1] is None
    tree.own("0::/../elsewhere\n", V2)
    assert tree.answers[1] is None


def test_a_mount_from_above_our_namespace_limits_us_too(tree):
    """What is mounted is then one of our ancestors."""
    tree.own("0::/\n", V2, top="/..")
    tree.put("sys/fs/cgroup/memory.max", "66\n")
    assert tree.answers[1] == 66


def test_a_mount_point_with_a_space(tree):
    """mountinfo writes it as \\040."""
    tree.own("0::/\n", V2.replace("/sys/fs/cgroup", "/my\\040groups"))
    tree.put("my groups/memory.max", "88\n")
    assert tree.answers[1] == 88


@pytest.mark.parametrize(
    ("quota", "limit"),
    [
        ("max 100000", "max"),
        ("", ""),
        ("0 0", "x"),
        ("rubbish", "-"),
        ("1 2 3", "\0"),
        ("1", "1.5"),
    ],
)
def test_rubbish_and_no_limit_are_no_limit(tree, quota, limit):
    """Nothing raises."""
    tree.own("0::/a\n", V2)
    tree.put("sys/fs/cgroup/a/cpu.max", quota)
    tree.put("sys/fs/cgroup/a/memory.max", limit)
    tree.put("sys/fs/cgroup/a/memory.events", limit)
    assert tree.answers == (None, None, 0)


def test_without_control_groups_there_is_no_limit(tree):
    """No files, broken files, and the whole machine's count of kills."""
    assert tree.answers == (None, None, 0)
    tree.own("rubbish\n::\n", "x\n- - -\n1 2 3 4 - cgroup2\n")
    assert tree.answers == (None, None, 0)
    tree.own("1:name=systemd:/\n", V1 + V2)
    assert tree.answers == (None, None, 0)
    tree.put("proc/vmstat", "nr_free_pages 1\noom_kill 12\n")
    assert tree.answers == (None, None, 12)


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("max", 8), ("50000", 1), ("100000", 1), ("150000", 2), ("800000", 8), ("9900000", 8)],
)
def test_available_cpus_are_what_affinity_and_quota_leave(tree, monkeypatch, quota, cpus):
    """Rounded up, at least one, at most the mask."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    tree.own("0::/\n", V2)
    tree.put("sys/fs/cgroup/cpu.max", f"{quota} 100000\n")
    assert cgroup.available_cpus(str(tree.root)) == cpus


def test_this_machine_answers():
    """The real files, whatever they say."""
    assert 1 <= cgroup.available_cpus() <= len(os.sched_getaffinity(0))
    assert cgroup.oom_kills() >= 0
    quota, limit = cgroup.cpu_quota(), cgroup.memory_limit()
    assert quota is None or quota > 0
    assert limit is None or limit > 0
