"""docker-py against an engine that has busybox; DOCKER_HOST says where. Any failed assertion fails the test."""

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
