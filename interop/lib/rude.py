#!/usr/bin/env python3
"""Clients that a control socket must survive. Usage: rude.py SOCKET PID"""
import os, random, socket, struct, sys, time

path, pid = sys.argv[1], int(sys.argv[2])
CMD_REQUEST, CMD_RESPONSE, REGISTER, CONFIRM = 0, 1, 3, 5


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(path)
    return s


def packet(kind, name, body=b""):
    content = bytes([kind, len(name)]) + name.encode() + body
    return struct.pack(">I", len(content)) + content


def value(key, text):
    return bytes([3, len(key)]) + key.encode() + struct.pack(">H", len(text)) + text.encode()


def exactly(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError("closed by the daemon")
        data += more
    return data


def answer(s):
    while True:
        content = exactly(s, struct.unpack(">I", exactly(s, 4))[0])
        if content[0] == CMD_RESPONSE:
            return content


def memory():
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def alive(what):
    start = time.monotonic()
    s = connect()
    s.sendall(packet(CMD_REQUEST, "version"))
    assert b"shrike" in answer(s), f"no version after {what}"
    took = time.monotonic() - start
    assert took < 2, f"{took:.1f} s for an answer after {what}"


alive("nothing")
random.seed(7)
for length in (1, 3, 4, 5, 100, 70000):  # noise, and lengths that promise too much
    s = connect()
    try:
        s.sendall(random.randbytes(length))
    except OSError:
        pass
    s.close()
for header in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff\x00", struct.pack(">I", 5) + b"\x00\xffabc"):
    s = connect()
    s.sendall(header)
    s.close()
alive("noise")

clients = [connect() for _ in range(100)]  # a hundred at once, each with three commands
for s in clients:
    s.sendall(b"".join(packet(CMD_REQUEST, name) for name in ("version", "stats", "get-conns")))
for s in clients:
    for _ in range(3):
        answer(s)
    s.close()
alive("a hundred clients")

before = memory()
deaf = connect()  # asks for everything and reads nothing
deaf.sendall(packet(REGISTER, "log"))
deaf.settimeout(0.5)
sent = 0
try:
    for _ in range(200_000):
        deaf.sendall(packet(CMD_REQUEST, "list-conns") + packet(CMD_REQUEST, "get-counters"))
        sent += 2
except OSError:  # full, or closed
    pass
alive(f"{sent} commands whose answers nobody reads")
grown = memory() - before
assert grown < 32 << 20, f"the daemon grew by {grown} octets for a client that does not read"
deaf.close()

slow = connect()  # one octet at a time
for octet in packet(CMD_REQUEST, "version"):
    slow.sendall(bytes([octet]))
    time.sleep(0.005)
answer(slow)

for n in range(20):  # gone in the middle of an initiation
    s = connect()
    s.sendall(packet(REGISTER, "control-log") + packet(CMD_REQUEST, "initiate", value("child", "lab")))
    if n % 2:
        time.sleep(0.01)
    s.close()
    s = connect()
    s.sendall(packet(CMD_REQUEST, "terminate", value("ike", "lab") + value("force", "yes") + value("timeout", "1000")))
    s.close()
alive("clients that leave in the middle")
for descriptors in range(50):  # closed connections are forgotten
    if len(os.listdir(f"/proc/{pid}/fd")) < 40:
        break
    time.sleep(0.1)
else:
    sys.exit(f"{len(os.listdir(f'/proc/{pid}/fd'))} descriptors are open")
