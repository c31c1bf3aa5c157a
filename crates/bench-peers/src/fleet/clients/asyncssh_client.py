"""asyncssh: one process, one connection a host, all at once."""
import asyncio
import sys

import asyncssh

user, key, port, hosts, command = sys.argv[1:]


async def one(host, private):
    async with asyncssh.connect(
        host, port=int(port), username=user, client_keys=[private], known_hosts=None, config=None,
        agent_path=None, connect_timeout=120, login_timeout=120,
    ) as connection:
        return (await connection.run(command, check=True)).stdout


async def main():
    private = asyncssh.read_private_key(key)
    names = open(hosts).read().split()
    for result in await asyncio.gather(*(one(name, private) for name in names), return_exceptions=True):
        print(result if isinstance(result, str) else repr(result), end="\n" if not isinstance(result, str) else "")


asyncio.run(main())
