"""testcontainers against an engine that has busybox, without its reaper, which would have to be pulled."""

import tempfile

from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import wait_for_logs

testcontainers_config.ryuk_disabled = True

with tempfile.TemporaryDirectory() as folder:
    with open(f"{folder}/greeting", "w") as file:
        file.write("hello")
    box = (
        DockerContainer("busybox")
        .with_env("WHO", "testcontainers")
        .with_volume_mapping(folder, "/in", "ro")
        .with_command("sh -c 'echo $WHO is ready; exec sleep 1000'")
    )
    with box as running:
        wait_for_logs(running, "testcontainers is ready", timeout=60)
        assert running.exec(["cat", "/in/greeting"]).output == b"hello"
        assert running.exec(["sh", "-c", "touch /in/x"]).exit_code != 0
        stdout, stderr = running.get_logs()
        assert stdout == b"testcontainers is ready\n" and stderr == b""
        assert running.get_wrapped_container().status in ("created", "running")
