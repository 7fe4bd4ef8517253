"""docker-py against an engine that has busybox; DOCKER_HOST says where. Any failed assertion fails the test."""

import io
import tarfile

import docker

client = docker.from_env()
assert client.ping()
assert client.version()["ApiVersion"] == "1.45"
assert client.images.get("busybox").tags == ["busybox:latest"]

assert client.containers.run("busybox", "echo hello", remove=True) == b"hello\n"

try:
    client.containers.run("busybox", ["sh", "-c", "echo oops >&2; exit 2"], remove=True)
    raise AssertionError("exit code 2 is an error")
except docker.errors.ContainerError as error:
    assert error.exit_status == 2 and error.stderr == b"oops\n", error

container = client.containers.run("busybox", "sleep 1000", detach=True, name="py", labels={"who": "me"})
container.reload()
assert container.status == "running"
assert container.attrs["NetworkSettings"]["IPAddress"].startswith("172.")
assert [c.name for c in client.containers.list(filters={"label": "who=me"})] == ["py"]
assert container.exec_run(["sh", "-c", "echo in; exit 4"]) == (4, b"in\n")
# Framed as the start says, which docker-py leaves out here.
started = client.api.exec_create(container.id, ["sh", "-c", "echo out; echo err >&2"], tty=True)
assert client.api.exec_start(started) == b"out\r\nerr\r\n"
assert container.stats(stream=False)["memory_stats"]["usage"] > 0
assert "sleep 1000" in str(container.top())
container.rename("pi")
container.kill()
assert container.wait()["StatusCode"] == 137
container.restart(timeout=0)
container.stop(timeout=0)
container.remove()

try:
    client.containers.get("pi")
    raise AssertionError("it was removed")
except docker.errors.NotFound as error:
    assert "No such container: pi" in error.explanation, error

# What a client of an older API says, and a commit of what has just ended, or not yet.
box = client.containers.create("busybox", "printf unfinished", mac_address="02:42:ac:11:00:aa")
box.start()
image = box.commit("made")
assert box.wait()["StatusCode"] == 0
assert box.logs() == b"unfinished", "no newline that was not there"
assert box.attrs is not None and image.tags == ["made:latest"]
box.remove()
image.remove()
box = client.containers.run("busybox", "sleep 1000", detach=True, mac_address="02:42:ac:11:00:aa")
box.reload()
assert box.attrs["NetworkSettings"]["MacAddress"] == "02:42:ac:11:00:aa"
box.remove(force=True)

# Volumes and files.
volume = client.volumes.create("py-data", labels={"who": "me"})
assert volume.attrs["Driver"] == "local" and volume.attrs["Labels"] == {"who": "me"}
mounts = [docker.types.Mount("/there", "py-data"), docker.types.Mount("/memory", None, type="tmpfs", tmpfs_size=65536)]
box = client.containers.create("busybox", "sh -c 'cat /there/f; df -k /memory | tail -1'", mounts=mounts)
packed = io.BytesIO()
with tarfile.open(fileobj=packed, mode="w:gz") as archive:
    entry = tarfile.TarInfo("f")
    entry.size = 5
    archive.addfile(entry, io.BytesIO(b"hello"))
assert box.put_archive("/there", packed.getvalue())
box.start()
assert box.wait()["StatusCode"] == 0
output = box.logs()
assert output.startswith(b"hello") and b" 64 " in output, output
stream, stat = box.get_archive("/there/f")
assert stat["name"] == "f" and stat["size"] == 5 and stat["mode"] == 0o644 and stat["linkTarget"] == "", stat
with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
    assert archive.extractfile("f").read() == b"hello"
assert box.diff() is not None
with tarfile.open(fileobj=io.BytesIO(b"".join(box.export()))) as archive:
    assert "bin" in archive.getnames() and "there/f" not in archive.getnames()
assert [m["Name"] for m in box.attrs["Mounts"] if m["Type"] == "volume"] == ["py-data"]
usage = client.df()
assert [v["UsageData"] for v in usage["Volumes"]] == [{"RefCount": 1, "Size": 5}], usage["Volumes"]
try:
    volume.remove()
    raise AssertionError("it is in use")
except docker.errors.APIError as error:
    assert error.status_code == 409, error
assert client.containers.prune()["ContainersDeleted"] == [box.id]
assert client.volumes.prune()["VolumesDeleted"] == []
assert client.volumes.prune({"all": True})["VolumesDeleted"] == ["py-data"]
assert client.volumes.list() == []
