// dockerode against the engine at DOCKER_HOST, with busybox:latest loaded. Fails by an exception.
"use strict";
const assert = require("node:assert/strict");
const { PassThrough } = require("node:stream");
const { finished } = require("node:stream/promises");
const Docker = require("dockerode");

const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace("unix://", "") });

/** Everything that goes into it, once it has ended. */
function sink() {
  const stream = new PassThrough();
  const chunks = [];
  stream.on("data", (chunk) => chunks.push(chunk));
  return { stream, text: () => Buffer.concat(chunks).toString() };
}

/** A ustar archive of one file. */
function tar(name, content) {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\0", 100);
  header.write("0000000\0".repeat(2), 108);
  header.write(content.length.toString(8).padStart(11, "0") + "\0", 124);
  header.write("00000000000\0        0", 136);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(sum.toString(8).padStart(6, "0") + "\0 ", 148);
  const body = Buffer.alloc(Math.ceil(content.length / 512) * 512);
  body.write(content);
  return Buffer.concat([header, body, Buffer.alloc(1024)]);
}

async function demultiplexed(container, stream) {
  const [out, err] = [sink(), sink()];
  container.modem.demuxStream(stream, out.stream, err.stream);
  await finished(stream, { writable: false });
  return [out.text(), err.text()];
}

async function run() {
  const out = sink();
  const [result, container] = await docker.run("busybox", ["sh", "-c", "echo run; exit 3"], out.stream, {
    Tty: true,
    HostConfig: { AutoRemove: false },
  });
  assert.equal(result.StatusCode, 3);
  assert.equal(out.text(), "run\r\n");
  await container.remove();
}

async function attach() {
  const container = await docker.createContainer({
    Image: "busybox", Cmd: ["sh", "-c", "read line; echo out $line; echo err >&2"],
    OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
  });
  const stream = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
  const texts = demultiplexed(container, stream);
  await container.start();
  stream.end("hello\n");
  assert.deepEqual(await texts, ["out hello\n", "err\n"]);
  assert.equal((await container.wait()).StatusCode, 0);
  await container.remove({ v: true });
}

async function exec(container) {
  const exec = await container.exec({
    Cmd: ["sh", "-c", "cat; echo err >&2; exit 7"], AttachStdin: true, AttachStdout: true, AttachStderr: true,
  });
  const stream = await exec.start({ hijack: true, stdin: true });
  const texts = demultiplexed(container, stream);
  stream.end("through");
  assert.deepEqual(await texts, ["through", "err\n"]);
  assert.equal((await exec.inspect()).ExitCode, 7);
}

async function logs(container) {
  const follow = await container.logs({ follow: true, stdout: true, stderr: true });
  const texts = demultiplexed(container, follow);
  await container.kill({ signal: "SIGTERM" });
  assert.deepEqual(await texts, ["begun\nended\n", ""]);
  const lines = (await container.logs({ stdout: true, timestamps: true })).toString();
  assert.match(lines, /\d{4}-\d\d-\d\dT.*Z begun\n/);
}

async function events(since) {
  const stream = await docker.getEvents({ since, until: Math.floor(Date.now() / 1000) + 1, filters: { type: ["container"] } });
  const all = sink();
  stream.pipe(all.stream);
  await finished(stream, { writable: false });
  const actions = all.text().trim().split("\n").map((line) => JSON.parse(line).Action);
  for (const action of ["create", "start", "attach", "exec_die", "die", "destroy"]) {
    assert(actions.includes(action), `${action} is among ${actions}`);
  }
}

async function build() {
  const stream = await docker.buildImage(tar("Dockerfile", "FROM busybox\nRUN echo built > /word\n"), { t: "rode:1" });
  await new Promise((done, failed) =>
    docker.modem.followProgress(stream, (error, said) => {
      if (error) return failed(error);
      assert(said.some((line) => line.stream?.startsWith("Successfully tagged rode:1")), JSON.stringify(said));
      done();
    }));
  const container = await docker.createContainer({ Image: "rode:1", Cmd: ["true"] });
  await container.putArchive(tar("put.txt", "put"), { path: "/tmp" });
  const archive = sink();
  const copy = await container.getArchive({ path: "/tmp/put.txt" });
  copy.pipe(archive.stream);
  await finished(copy, { writable: false });
  assert(archive.text().includes("put.txt") && archive.text().slice(512).startsWith("put"));
  await container.remove();
  await docker.getImage("rode:1").remove();
  await assert.rejects(docker.getImage("rode:1").inspect(), (error) => error.statusCode === 404);
}

async function volumesAndNetworks() {
  const volume = await docker.createVolume({ Name: "rode", Labels: { a: "b" } });
  const network = await docker.createNetwork({ Name: "rode", CheckDuplicate: true });
  const container = await docker.createContainer({
    Image: "busybox", Cmd: ["sleep", "1000"], ExposedPorts: { "80/tcp": {} },
    HostConfig: { Binds: ["rode:/data"], PortBindings: { "80/tcp": [{ HostPort: "" }] } },
  });
  await container.start();
  await network.connect({ Container: container.id, EndpointConfig: { Aliases: ["box"] } });
  const seen = await container.inspect();
  assert.equal(seen.Mounts[0].Name, "rode");
  assert(seen.NetworkSettings.Networks.rode.Aliases.includes("box"));
  assert.match(seen.NetworkSettings.Ports["80/tcp"][0].HostPort, /^\d+$/);
  assert.equal(Object.keys((await network.inspect()).Containers)[0], container.id);
  const stats = await container.stats({ stream: false });
  assert(stats.memory_stats.usage > 0);
  await network.disconnect({ Container: container.id });
  await assert.rejects(volume.remove(), (error) => error.statusCode === 409);
  await container.remove({ force: true });
  await network.remove();
  await volume.remove();
}

async function main() {
  const since = Math.floor(Date.now() / 1000);
  assert.equal((await docker.ping()).toString(), "OK");
  assert((await docker.listImages()).some((image) => image.RepoTags.includes("busybox:latest")));
  await run();
  await attach();
  const script = "trap 'echo ended; exit 0' TERM; echo begun; while true; do sleep 0.05; done";
  const container = await docker.createContainer({ Image: "busybox", Cmd: ["sh", "-c", script], name: "rode" });
  await container.start();
  await exec(container);
  await logs(container);
  await container.remove({ force: true });
  await events(since);
  await build();
  await volumesAndNetworks();
  assert.deepEqual(await docker.listContainers({ all: true }), []);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
