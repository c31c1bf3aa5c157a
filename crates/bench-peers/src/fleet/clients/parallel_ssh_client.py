"""parallel-ssh (libssh2 on gevent): one process, all hosts at once."""
import sys

from pssh.clients import ParallelSSHClient

user, key, port, hosts, command = sys.argv[1:]
names = open(hosts).read().split()
client = ParallelSSHClient(
    names, user=user, pkey=key, port=int(port), pool_size=len(names), timeout=120, num_retries=3,
    allow_agent=False, identity_auth=False,
)
for output in client.run_command(command, stop_on_errors=False):
    if output.exception is not None:
        print(repr(output.exception))
        continue
    for line in output.stdout:
        print(line)
