#!/usr/bin/env python3
"""strongSwan's own Python client against the daemon. Usage: client.py SOCKET"""
import socket, sys
import vici

s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
session = vici.Session(s)
assert session.version()["daemon"] == b"shrike", session.version()
assert int(session.stats()["ikesas"]["total"]) >= 0
assert session.get_conns()["conns"] == [b"lab"]
[conn] = list(session.list_conns())
assert conn["lab"]["version"] == b"IKEv2", conn
list(session.terminate({"ike": "lab"})) if list(session.list_sas()) else None
lines = list(session.initiate({"child": "lab", "timeout": "5000", "loglevel": "1"}))
assert any(b"established" in line["msg"] for line in lines), lines
[sa] = list(session.list_sas())
assert sa["lab"]["state"] == b"ESTABLISHED", sa
[child] = sa["lab"]["child-sas"].values()
assert child["state"] == b"INSTALLED" and child["local-ts"] == [b"10.1.0.0/24"], child
[finding] = list(session.streamed_request("shrike-diagnose", "shrike-finding"))
assert finding["severity"] in (b"ok", b"info") and b"192.0.2." in finding["peer"], finding
session.load_conn({"second": {"version": "2", "remote_addrs": ["192.0.2.9"], "local": {"auth": "psk"}, "remote": {"auth": "psk"},
                              "children": {"x": {"remote_ts": ["10.9.0.0/24"]}}}})
assert set(session.get_conns()["conns"]) == {b"lab", b"second"}
try:
    session.load_conn({"third": {"remote_adrs": ["192.0.2.9"]}})
    sys.exit("an unknown key was accepted")
except vici.exception.CommandException as e:
    assert "did you mean 'remote_addrs'?" in str(e), e
found = list(session.streamed_request("shrike-diagnose", "shrike-finding"))
assert [f["causes"] for f in found if f["peer"] == b"192.0.2.9"] == [[b"NOT_STARTED"]], found
session.unload_conn({"name": "second"})
session.load_shared({"id": "x", "type": "IKE", "data": "y", "owners": ["z"]})
assert b"x" in session.get_shared()["keys"]
session.unload_shared({"id": "x"})
try:
    list(session.initiate({"child": "nosuch"}))
    sys.exit("a child that is not there was initiated")
except vici.exception.CommandException as e:
    assert "no connection has a child 'nosuch'" in str(e), e
try:
    session.request("no-such-command")
    sys.exit("an unknown command was accepted")
except vici.exception.SessionException:
    pass
list(session.terminate({"ike": "lab"}))
assert not list(session.list_sas())
