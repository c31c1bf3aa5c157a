"""paramiko: one operating system process a host, as many at once as the first argument says."""
import multiprocessing
import sys

import paramiko

limit, user, key, port, hosts, command = sys.argv[1:]


def one(host):
    try:
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            host, port=int(port), username=user, key_filename=key, look_for_keys=False, allow_agent=False,
            timeout=120, banner_timeout=120, auth_timeout=120,
        )
        _, stdout, _ = client.exec_command(command)
        text = stdout.read().decode()
        client.close()
        return text
    except Exception as error:
        return repr(error) + "\n"


if __name__ == "__main__":
    names = open(hosts).read().split()
    with multiprocessing.Pool(min(int(limit), len(names)), maxtasksperchild=1) as pool:
        for text in pool.imap_unordered(one, names, chunksize=1):
            print(text, end="")
