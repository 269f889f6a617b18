"""TF_CONFIG is read strictly, and who does not come is named, and waited for no longer than was said."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest
from absl import flags

from autonl_tf import cluster
from autonl_tf.cli import parsing
from autonl_tf.errors import UserError

TWO = {"worker": ["localhost:1", "localhost:2"]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "TF_CONFIG is empty"),
        (" ", "TF_CONFIG is empty"),
        ("{not json", "not JSON"),
        ([], "accepted: {"),
        ({"cluster": TWO}, "accepted: {"),
        ({"cluster": {}, "task": {"type": "worker", "index": 0}}, "cluster is empty"),
        ({"cluster": {"worker": "localhost:1"}, "task": {}}, "a list of HOST:PORT"),
        ({"cluster": {"worker": []}, "task": {}}, "a list of HOST:PORT"),
        ({"cluster": {"worker": {"0": "a:1"}}, "task": {}}, "a list of HOST:PORT"),
        ({"cluster": {"worker": [7]}, "task": {}}, "the port from 1 to 65535"),
        ({"cluster": {"worker": ["localhost"]}, "task": {}}, "the port from 1 to 65535"),
        ({"cluster": {"worker": ["localhost:0"]}, "task": {}}, "the port from 1 to 65535"),
        ({"cluster": {"worker": ["localhost:65536"]}, "task": {}}, "the port from 1 to 65535"),
        ({"cluster": {"worker": ["http://localhost:1"]}, "task": {}}, "the port from 1 to 65535"),
        ({"cluster": {"worker": ["a:1", "a:1"]}, "task": {}}, "a:1 is given twice"),
        ({"cluster": {"chief": ["a:1"], "worker": ["a:1"]}, "task": {}}, "a:1 is given twice"),
        ({"cluster": {"chief": ["a:1", "b:1"]}, "task": {}}, "a list of one HOST:PORT"),
        ({"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}, "accepted: chief, worker"),
        ({"cluster": TWO, "task": {"type": "worker", "index": 2}}, "one of: worker 0, worker 1"),
        ({"cluster": TWO, "task": {"type": "worker", "index": -1}}, "one of: worker 0, worker 1"),
        ({"cluster": TWO, "task": {"type": "worker", "index": True}}, "one of: worker 0, worker 1"),
        ({"cluster": TWO, "task": {"type": ["worker"], "index": 0}}, "one of: worker 0, worker 1"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_before_tensorflow_starts(value, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", value if isinstance(value, str) else json.dumps(value))
    values = flags.FlagValues()
    parsing.define_flags(values)
    values(["main.py", "--mode=eval", "--model_dir=run", "--dataset=demo"])
    with pytest.raises(UserError, match="TF_CONFIG") as error:
        parsing.from_flags(values)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def two():
    """The two processes of a cluster at free ports."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    addresses = {f"worker {i}": f"localhost:{each.getsockname()[1]}" for i, each in enumerate(sockets)}
    for each in sockets:
        each.close()
    return [cluster.Cluster(addresses, name) for name in addresses]


def test_who_does_not_come_is_named_and_waited_for_no_longer_than_the_limit(two, monkeypatch):
    monkeypatch.setattr(cluster, "_FIRST_WORD_SECONDS", 0.0)
    said, address = [], two[0].addresses["worker 1"]
    with pytest.raises(UserError, match=rf"--wait_seconds=0\.1: no answer from worker 1 at {address} \(Connection ref"):
        cluster.wait_for_others(two[0], 0.1, said.append)
    assert said[0].startswith(f"waiting for worker 1 at {address} (Connection refused); giving up after 0.1 s")


def test_who_comes_late_is_met_by_who_waits(two, monkeypatch):
    monkeypatch.setattr(cluster, "_FIRST_WORD_SECONDS", 0.0)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            time.sleep(0.5)
            cluster.wait_for_others(two[1], 60.0, lambda _: None)
            code = 0
        finally:
            # TensorFlow listens there from now on: so does this, long enough to be found.
            with socket.create_server(("localhost", int(two[1].addresses["worker 1"].split(":")[1]))):
                time.sleep(1.0)
            os._exit(code)
    said = []
    cluster.wait_for_others(two[0], 60.0, said.append)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert said


def test_a_machine_without_ipv6_listens_too(two, monkeypatch):
    listen = socket.create_server

    def without(address, *, dualstack_ipv6=False, **how):
        if dualstack_ipv6:
            raise ValueError("dualstack_ipv6 not supported on this platform")
        return listen(address, **how)

    monkeypatch.setattr(socket, "create_server", without)
    with cluster._listening(two[0]):
        host, _, port = two[0].addresses["worker 0"].rpartition(":")
        socket.create_connection((host, int(port)), timeout=5).close()


def test_an_address_in_use_is_told(two):
    port = int(two[0].addresses["worker 0"].split(":")[1])
    with socket.create_server(("", port)), pytest.raises(UserError, match="cannot be listened at: Address already in"):
        cluster.wait_for_others(two[0], 5.0, lambda _: None)


def test_a_process_of_its_own_waits_for_nobody():
    cluster.wait_for_others(cluster.Cluster({"worker 0": "localhost:1"}, "worker 0"), 0.0, pytest.fail)
