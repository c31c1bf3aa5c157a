# The remote half of copies, in sections for the verbs on the `#:` lines. Each section is folded into one line, so no
# line may end in the middle of a `case`. The orders come on standard input, after the script.
#: upload download survey sums unpack pack steps compare home
umask 022
IFS=' '
# Tools must write as expected.
export LC_ALL=C
T=
say() { printf '\036%s %s\n' "$N" "$*"; }
fail() { calm; say error "$@"; [ -z "$T" ] || rm -f "$T"; exit 0; }
# Shows that a long silent task, such as a hash, continues; for at most half an hour, because a hanging task looks the
# same. A terminal would mix this with the data.
Q=
beat() { [ -t 2 ] || { (K=0; while [ $K -lt 180 ] && sleep 10 </dev/null >/dev/null 2>&1; do K=$((K + 1)); echo >&2; done) </dev/null >/dev/null & Q=$!; }; }
calm() { [ -z "$Q" ] || kill $Q 2>/dev/null; Q=; }
#: upload download survey sums
if command -v sha256sum >/dev/null 2>&1; then S=sha256sum
elif command -v shasum >/dev/null 2>&1; then S='shasum -a 256'
elif command -v openssl >/dev/null 2>&1; then S='openssl dgst -sha256 -r'
else S=
fi
# The hash of one large stream: openssl uses the processor's instructions for it, and sha256sum often does not.
sum() { beat; if command -v openssl >/dev/null 2>&1; then set -- $(openssl dgst -sha256 -r); else set -- $([ -z "$S" ] || $S); fi; calm; echo "${1:--}"; }
#: upload unpack
# The reason that a tool gave in its first line with one, without the names of the tool and of the shell's line.
why() { printf '%s\n' "$1" | { while IFS= read -r L; do case $L in *': '*) L=${L#*: }; case $L in [0-9]*': '*|'line '[0-9]*': '*) L=${L#*: };; esac; printf '%s\n' "$L"; exit;; esac; done; echo 'no reason given'; }; }
#: upload unpack survey
# Whether $1 is ours and nobody else can write to it: $2 is the beginning of its mode. Sets Z to its size and J to its
# links.
ours() { set -- "$2" $(ls -ldn "$1" 2>/dev/null); Z=$6; J=$3; case $2 in $1*) [ "$4" = "$(id -u)" ];; *) false;; esac; }
# Where to unpack a directory for $1: on the same file system.
beside() { if [ -d "$1" ]; then printf '%s\n' "${1%/}/.reveille"; else printf '%s\n' "$1.reveille"; fi; }
parent() { case $1 in */*) P=${1%/*};; *) P=.;; esac; [ -d "${P:-/}" ] || fail "there is no directory ${P:-/}"; }
#: upload unpack steps
# Sets M to the mode of $1, K to + if ls shows that it has an ACL, and U and G to its owner and group.
look() { set -- $(ls -ldnL "$1" 2>/dev/null); M=$1; U=$3; G=$4; K=; case $M in ??????????+*) K=+;; esac; M=${M%"${M#??????????}"}; }
#: upload steps
# Gives the new file $2 the owner, group, mode and ACL of the file $1, or prints what can't be kept. $3 and $4 are
# another owner and group, or -. GNU cp copies ACLs, setfacl does elsewhere; BusyBox ls does not show them.
like() {
look "$2"
O=$U:$G
look "$1"
[ "$3" = - ] || U=$3
[ "$4" = - ] || G=$4
if [ "$O" != "$U:$G" ]; then
chown "$U:$G" "$2" 2>/dev/null || { echo "can't give the new $1 the owner and group $U:$G of the old one; become root, or set owner and group"; return 1; }
fi
cp --attributes-only --preserve=mode "$1" "$2" 2>/dev/null || {
if O=$(getfacl -p "$1" 2>/dev/null); then
printf '%s\n' "$O" | setfacl --set-file=- "$2" 2>/dev/null || { echo "can't keep the ACL of $1"; return 1; }
fi
chmod "$(echo "$M" | sed 's/^.\(...\)\(...\)/u=\1,g=\2,o=/;s/s/xs/g;s/S/s/g;s/t/xt/;s/T/t/;s/-//g')" "$2"
}
set -- "$1" "$2" "$M$K"
look "$2"
[ "$M$K" = "$3" ] || { echo "can't keep mode and ACL of $1 ($3)"; return 1; }
}
#: upload
read -r N SIZE ID MODE OWNER GROUP || exit 0
IFS= read -r D
IFS= read -r NAME
say hello
case $D in -*) D=./$D;; esac
[ -d "$D" ] && D=${D%/}/$NAME
parent "$D"
[ ! -d "$D" ] || fail "$D is a directory"
[ ! -e "$D" ] || [ -f "$D" ] || fail "$D is a device, a pipe or a socket, and is not replaced"
X=$D.reveille-$N
R=
B=0
if [ "$ID" != - ]; then
R=$D.reveille-$ID
H=-
if [ -f "$D" ] && [ ! -h "$D" ]; then
set -- $(ls -lnL "$D")
[ "$5" != "$SIZE" ] || H=$(sum <"$D")
fi
K=0
I=-
if [ ! -e "$R" ] && [ ! -h "$R" ]; then X=$R
elif [ -f "$R" ] && ours "$R" '-rw-------' && [ "$J" = 1 ]; then
X=$R
K=$((Z / 65536))
[ $K = 0 ] || I=$(dd if="$R" bs=65536 count=$K 2>/dev/null | sum)
fi
say state $H $K $I
IFS= read -r B || exit 0
fi
meta() { set -- $(ls -ldn "$D" 2>/dev/null); M="$1 $3 $4"; }
meta
W=$M
C=0
F=$D
if [ "$B" != have ]; then
C=1
[ "$X" = "$R" ] && [ -e "$X" ] || E=$( (umask 077; set -C; : >"$X") 2>&1) || fail "can't write $X: $(why "$E")"
T=$X
chmod 600 "$T"
E=$(dd bs=65536 seek="$B" conv=notrunc of="$T" 2>&1) || fail "can't write $T: $(why "$E")"
set -- $(ls -ln "$T")
if [ "$5" != "$SIZE" ]; then
[ "$T" = "$R" ] && [ "$5" -gt 1048576 ] && T=
fail "only $5 of $SIZE bytes arrived"
fi
F=$T
beat
if [ ! -h "$D" ] && cmp -s "$T" "$D"; then
C=0
F=$D
rm -f "$T"
fi
calm
fi
if [ $C = 1 ] && [ -f "$D" ]; then
E=$(like "$D" "$T" "$OWNER" "$GROUP") || fail "$E"
else
O=
[ "$OWNER" = - ] || O=$OWNER
[ "$GROUP" = - ] || O=$O:$GROUP
[ -z "$O" ] || E=$(chown "$O" "$F" 2>&1) || fail "can't give $F to $O: $(why "$E")"
[ $C = 0 ] || [ "$MODE" != - ] || MODE=644
fi
[ "$MODE" = - ] || E=$(chmod "$MODE" "$F" 2>&1) || fail "can't set mode $MODE on $F: $(why "$E")"
if [ $C = 1 ]; then
E=$(mv -f "$T" "$D" 2>&1) || fail "can't replace $D: $(why "$E")"
else
meta
[ "$M" = "$W" ] || C=1
fi
T=
say end $C
#: download
read -r N K SIZE || exit 0
IFS= read -r D
case $D in -*) D=./$D;; esac
say hello
if [ -d "$D" ]; then
say directory
exit 0
fi
[ -e "$D" ] || fail "there is no file $D"
[ -f "$D" ] || fail "$D is not a file"
[ -r "$D" ] || fail "$D can't be read"
set -- $(ls -lnL "$D")
M=$1
Z=$5
H=-
I=-
# The kernel makes the content of some files when they are read.
if [ "$Z" = 0 ]; then
say stream
cat "$D" || fail "$D can't be read"
say end
exit 0
fi
[ "$Z" != "$SIZE" ] || H=$(sum <"$D")
if [ "$K" -gt 0 ] && [ $((K * 65536)) -le "$Z" ]; then
I=$(dd if="$D" bs=65536 count="$K" 2>/dev/null | sum)
fi
say size "$Z" "$H" "$I" "$M"
B=0
if [ "$H$I" != -- ]; then
IFS= read -r B || exit 0
fi
[ "$B" = have ] || exec dd if="$D" bs=65536 skip="$B" 2>/dev/null
#: survey
# For each of the names that follow: its attributes, or its hash.
read -r N WHAT ID || exit 0
IFS= read -r D
A=$(beside "$D")-$ID
ours "$A" 'drwx------' || A=
if [ ! -e "$D" ] && [ ! -h "$D" ]; then
say hello absent "$A"
exit 0
fi
say hello present "$A"
[ -d "$D" ] || fail "$D is on the host, and no directory"
cd "$D" 2>/dev/null || fail "$D can't be entered"
beat
if [ "$WHAT" = hashes ]; then
[ -z "$S" ] || xargs -0 $S 2>/dev/null
else
xargs -0 ls -ldn 2>/dev/null
fi
calm
say end
#: sums
# The hash of every file below a directory.
read -r N || exit 0
IFS= read -r D
say hello
cd "$D" 2>/dev/null || fail "$D can't be entered"
beat
[ -z "$S" ] || find . -type f -print0 2>/dev/null | xargs -0 $S 2>/dev/null
calm
say end
#: unpack
read -r N ID || exit 0
IFS= read -r D
command -v tar >/dev/null 2>&1 || fail "the host has no tar, which copies of directories need"
parent "$D"
X=$(beside "$D")
A=$X-$ID
mkdir -m 700 "$A" 2>/dev/null || ours "$A" 'drwx------' || { A=$X-$N; E=$(mkdir -m 700 "$A" 2>&1); } || fail "can't make $A: $(why "$E")"
look "$A"
say hello "${K:--}" "$A"
E=$(tar -xpof - -C "$A" 2>&1 >/dev/null) || fail "can't unpack at $A: $E"
say end
#: pack
# Everything below a directory, or its directories, links and those of its files whose names follow.
read -r N WHAT || exit 0
IFS= read -r D
say hello
command -v tar >/dev/null 2>&1 || fail "the host has no tar, which copies of directories need"
cd "$D" 2>/dev/null || fail "$D can't be entered"
say begin
exec 3>&1
few() { grep -v -e 'file changed as we read it' -e 'socket ignored' | tail -c 2000 | tr '\n' ' '; }
if [ "$WHAT" = all ]; then
E=$({ tar -cf - . 2>&1 >&3; echo "status $?"; } | few)
else
E=$({ find . '(' -type d -o -type l ')' -print0 | xargs -0 tar --no-recursion -cf -; } 2>&1 >&3 | few)
[ "$WHAT" = none ] || E="$E$({ xargs -0 tar -cf - 2>&1 >&3; echo "status $?"; } | few)"
fi
say end "$E"
#: steps
# Runs commands, one per line, up to the first failure.
read -r N || exit 0
say hello
beat
while IFS= read -r L; do E=$(eval "$L" 2>&1 </dev/null) || fail "$E"; done
calm
say end
#: compare
# What an upload would meet: nothing, or a file with its attributes; a small one is sent.
read -r N SIZE MOST || exit 0
IFS= read -r D
IFS= read -r NAME
say hello
case $D in -*) D=./$D;; esac
J=-
[ -d "$D" ] && J=in && D=${D%/}/$NAME
if [ ! -e "$D" ] && [ ! -h "$D" ]; then
case $D in */*) P=${D%/*};; *) P=.;; esac
if [ -d "${P:-/}" ]; then say absent $J; else say nowhere $J; fi
exit 0
fi
if [ -h "$D" ] && [ ! -e "$D" ]; then
say dangling $J
exit 0
fi
[ ! -d "$D" ] || fail "$D is a directory"
[ ! -e "$D" ] || [ -f "$D" ] || fail "$D is a device, a pipe or a socket, and is not replaced"
[ -r "$D" ] || fail "$D can't be read"
set -- $(ls -lL "$D")
M="$1 $3 $4"
[ ! -h "$D" ] || M=l${M#?}
set -- $(ls -lnL "$D")
M="$M $3 $4"
Z=$5
H=-
if [ "$Z" = "$SIZE" ] && [ "$Z" -gt "$MOST" ]; then
beat
if command -v sha256sum >/dev/null 2>&1; then set -- $(sha256sum <"$D")
elif command -v shasum >/dev/null 2>&1; then set -- $(shasum -a 256 <"$D")
elif command -v openssl >/dev/null 2>&1; then set -- $(openssl dgst -sha256 -r <"$D")
else set -- -
fi
H=$1
calm
fi
say found $J $M $Z $H
[ "$Z" -gt "$MOST" ] || exec cat "$D"
#: home
read -r N || exit 0
IFS= read -r D
say hello
eval "H=$D"
case $H in /*) say home "$H";; *) fail "$D is no home directory that the host knows";; esac
