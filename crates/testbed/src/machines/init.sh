# The first process of a machine, in its own mount, pid and uts namespaces.
# usage: sh init.sh NAME BASE DIRECTORY HOST_ID ADDRESS PORT
set -e
name=$1 base=$2 directory=$3 boot_id=$4 address=$5 port=$6
root=$directory/root

mkdir -p "$root" "$directory/upper" "$directory/work"
if ! mount -t overlay "$name" -o "lowerdir=$base,upperdir=$directory/upper,workdir=$directory/work" "$root" 2>/dev/null
then
    # If the disk is itself an overlay, it can't hold the upper layer; memory can.
    mkdir -p "$directory/memory"
    mount -t tmpfs -o mode=755 "$name" "$directory/memory"
    mkdir "$directory/memory/upper" "$directory/memory/work"
    cp -a "$directory/upper/." "$directory/memory/upper"
    mount -t overlay "$name" \
        -o "lowerdir=$base,upperdir=$directory/memory/upper,workdir=$directory/memory/work" "$root"
fi

mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mkdir -p "$root/run/sshd" "$root/run/lock"
# Every machine has its own boot id.
echo "$boot_id" > "$root/run/boot_id"
mount --bind "$root/run/boot_id" "$root/proc/sys/kernel/random/boot_id"
hostname "$name"

exec chroot "$root" /usr/sbin/sshd -D -e -o "ListenAddress=$address:$port"
