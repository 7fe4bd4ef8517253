#!/usr/bin/env python3
"""A plugin that goes wrong in the way its name says: docker-machine-driver-WAY."""
import os
import socket
import sys
import time

way = os.path.basename(sys.argv[0]).removeprefix("docker-machine-driver-")


def listening():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print("127.0.0.1:%d" % listener.getsockname()[1], flush=True)
    return listener.accept()[0]


def greeted():
    connection = listening()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 200 Connected to Go RPC\n\n")
    return connection


assert os.environ["MACHINE_PLUGIN_TOKEN"] == "42" and os.environ["MACHINE_PLUGIN_DRIVER_NAME"] == way
if way == "ends":
    sys.exit("panic: no credentials")
elif way == "chats":
    print("Loading \x1b[31mconfiguration", flush=True)
elif way == "elsewhere":
    print("192.0.2.1:80", flush=True)
elif way == "nobody":
    print("127.0.0.1:1", flush=True)
elif way == "web":
    listening().sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
elif way == "gibberish":
    greeted().sendall(b"\x90\x90\x90\x90" * 64)
elif way == "huge":
    greeted().sendall(b"\xfc\x40\x00\x00\x00")
elif way == "hangs-up":
    greeted().close()
    print("panic: gone", file=sys.stderr)
    sys.exit(2)
elif way == "silent-later":
    greeted()
time.sleep(60)
