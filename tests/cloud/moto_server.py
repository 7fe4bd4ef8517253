"""EC2 as the moto project has it, which checks signatures and permissions. Says on one line where it is and
with which keys; then answers every line on stdin with what of ours is there, until stdin ends."""

import json
import logging
import os
import sys
import tempfile

DEBIAN = "136693071363"
SETTINGS = {
    # Everything is refused that nobody may do, once the users are made.
    "INITIAL_NO_AUTH_ACTION_COUNT": "1000",
    "MOTO_ENABLE_AMI_VALIDATION": "true",
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "true",
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
}


def image(number, name, architecture, created):
    return {
        "ami_id": f"ami-{number:08x}", "name": name, "description": name, "owner_id": DEBIAN,
        "public": True, "virtualization_type": "hvm", "architecture": architecture, "state": "available",
        "platform": None, "image_type": "machine", "hypervisor": "xen", "root_device_name": "/dev/xvda",
        "root_device_type": "ebs", "sriov": "simple", "creation_date": created,
    }


# Read when EC2 is first asked for.
images = tempfile.NamedTemporaryFile("w", suffix=".json")
json.dump([
    image(1, "debian-13-amd64-20250814-2204", "x86_64", "2025-08-14T00:00:00.000Z"),
    image(2, "debian-13-amd64-20251117-2299", "x86_64", "2025-11-17T00:00:00.000Z"),
    image(3, "debian-13-arm64-20251117-2299", "arm64", "2025-11-17T00:00:00.000Z"),
    image(4, "debian-13-amd64-daily-20251120-2302", "x86_64", "2025-11-20T00:00:00.000Z"),
], images)
images.flush()
os.environ.update(SETTINGS, MOTO_AMIS_PATH=images.name)
# These read the settings.
import boto3  # noqa: E402
import requests  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://{host}:{port}"


def client(service, keys):
    names = {"aws_access_key_id": keys[0], "aws_secret_access_key": keys[1]}
    return boto3.client(service, endpoint_url=url, region_name="eu-central-1", **names)


def user(name, actions):
    iam = client("iam", ("x", "y"))
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


owner = user("owner", "ec2:*")
reader = user("reader", "ec2:Describe*")
requests.post(f"{url}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}, timeout=60)
print(json.dumps({"url": url, "owner": owner, "reader": reader}), flush=True)

for _ in sys.stdin:
    ec2 = client("ec2", owner)
    alive = ["pending", "running", "stopping", "stopped"]
    found = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": alive}])
    instances = [i for r in found["Reservations"] for i in r["Instances"]]
    groups = [g for g in ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"] != "default"]
    disks = [v for v in ec2.describe_volumes()["Volumes"] if v["State"] != "deleted"]
    left = {"instances": instances, "keys": ec2.describe_key_pairs()["KeyPairs"], "groups": groups, "disks": disks}
    print(json.dumps(left, default=str), flush=True)
server.stop()
