# The remote supervisor. POSIX sh only; no line may end inside quotes, because it travels as one line (see script.rs).
# `#:` starts a section and names the verbs that need it.
#
# Layout: PLACE/RUN/e.N      the epochs that have been here
#         PLACE/RUN/TOKEN/   made by whoever starts, or tombstones, this token: mkdir decides
#           go     created exclusively by the supervisor just before the command starts, or by whoever forbids that
#           pid    supervisor's pid, start time, boot id, process group, streamer's pid; written before go
#           out err   output;  exit   wait status, renamed into place;  slain   a kill was asked for
#           s 1 2  fifos: the command's text, its stdout, its stderr
#: ensure tomb stop clean look halt
# An exported variable of the same name would carry our values into the command's environment.
unset AGAIN ANCESTORS BOOT BORN C CAP COUNT D E END F FEED FILE GO GREW GROUP J K L LEFT LIVE ME N OFFSET_ERR OFFSET_OUT
unset OVER P PG PP PRE PROC R RC RE RO SBOOT SBORN SLAIN ST STREAMER SUP T U UM V VERB WAITED WHY WORDS X
UM=$(umask)
umask 077
IFS=' '

say() { printf '\036%s %s\n' "$N" "$*"; }
fail() { say error "$@"; exit 0; }
nap() { sleep "$1" 2>/dev/null || sleep 1; }

# Creates a file if nobody has; true for the one that did.
claim() {
  set -C
  if true 2>/dev/null >"$1"; then
    set +C
    return 0
  fi
  set +C
  return 1
}

# Reads pid $1's state, parent, group and start time into ST PP PG BORN.
inspect() {
  L=
  { read -r L <"/proc/$1/stat"; } 2>/dev/null || return 1
  set -- ${L##*) }
  ST=$1 PP=$2 PG=$3
  shift 19
  BORN=$1
}

alive() {
  if [ "$PROC" = 1 ]; then
    inspect "$1" && [ "$ST" != Z ] && [ "$BORN" = "$2" ]
  else
    kill -0 "$1" 2>/dev/null
  fi
}

look_around() {
  PROC=0
  BOOT=-
  [ -r /proc/self/stat ] && PROC=1
  { read -r BOOT </proc/sys/kernel/random/boot_id; } 2>/dev/null || BOOT=-
}

# A directory of ours: real, owned by us, closed to others.
usable() {
  [ -d "$1" ] || mkdir -p "$1" 2>/dev/null || return 1
  [ ! -L "$1" ] && [ -O "$1" ] && [ -w "$1" ] || return 1
  chmod 700 "$1" 2>/dev/null
}

choose_place() {
  U=$(id -u)
  WHY=
  for P in "${HOME:-/nonexistent}/.local/state/reveille" "/var/tmp/reveille-$U" "/tmp/reveille-$U"; do
    case $P in /nonexistent/*) continue ;; esac
    if usable "$P"; then
      set -- $(df -Pk "$P" 2>/dev/null | tail -n 1)
      case ${4:-x} in *[!0-9]*) return 0 ;; esac
      [ "$4" -ge 4096 ] && return 0
      WHY="$WHY $P has only $4 KiB free;"
    else
      WHY="$WHY $P is not a directory of ours that can be written to;"
    fi
  done
  fail place "$WHY"
}

# Refuses when a later controller has been here; leaves our epoch behind.
fence() {
  D=$P/$R
  T=$D/$K
  [ -d "$D" ] || mkdir "$D" 2>/dev/null || [ -d "$D" ] || fail place "can't create $D"
  for F in "$D"/e.*; do
    F=${F##*.}
    [ "$F" -gt "$E" ] 2>/dev/null && fail fenced "$F"
  done
  [ -f "$D/e.$E" ] || true 2>/dev/null >"$D/e.$E" || fail place "can't write to $D"
}

#: ensure stop look halt
# Pids that lead up to pid $1: the connection's own processes, which are never touched.
ancestors() {
  ANCESTORS=" "
  X=$1
  while [ "$X" -gt 1 ] && inspect "$X"; do
    ANCESTORS="$ANCESTORS$X "
    X=$PP
  done
}

#: ensure stop
# Everything that belongs to the command, into V: its process group, and its descendants in any group. Not the
# supervisor, the streamer, the relays, nor what those three run.
victims() {
  V=" $C "
  while :; do
    GREW=
    for F in /proc/[0-9]*; do
      X=${F##*/}
      case "$V$ANCESTORS$ME $RO $RE $FEED " in *" $X "*) continue ;; esac
      inspect "$X" || continue
      case " $ME $STREAMER $RO $RE " in *" $PP "*) continue ;; esac
      # What carries the connection for its own processes, as on a terminal.
      case "$ANCESTORS" in *" $PP "*) continue ;; esac
      if [ "$PG" != "$GROUP" ] || [ "$ST" = Z ]; then
        case $V in *" $PP "*) ;; *) continue ;; esac
      fi
      V="$V$X "
      GREW=1
    done
    [ "$GREW" ] || break
  done
}

# Whether any victim lives; those are in LIVE.
any_left() {
  victims
  LIVE=
  for X in $V; do
    inspect "$X" && [ "$ST" != Z ] && LIVE="$LIVE $X"
  done
  [ "$LIVE" ]
}

# TERM, two seconds, KILL; then says whether anything is left.
slay() {
  [ -n "$C" ] || return 0
  if [ "$PROC" = 0 ]; then
    kill -TERM "$C" 2>/dev/null
    nap 1
    kill -KILL "$C" 2>/dev/null
    printf 'unverified\n' >"$T/slain"
    return 0
  fi
  printf 'asked\n' >"$T/slain"
  any_left && kill -TERM $LIVE 2>/dev/null
  J=0
  while [ "$J" -lt 20 ] && any_left; do
    nap 0.1
    J=$((J + 1))
  done
  slay_the_rest
}

slay_the_rest() {
  J=0
  while [ "$J" -lt 20 ] && any_left; do
    kill -KILL $LIVE 2>/dev/null
    nap 0.1
    J=$((J + 1))
  done
  if any_left; then
    printf 'survived\n' >"$T/slain"
  else
    printf 'verified\n' >"$T/slain"
  fi
}

#: ensure
# Keeps the output in a file up to the cap; what is over it goes by, and its last 2 MiB are kept aside.
relay() {
  (
    trap '' XFSZ
    ulimit -f "$CAP"
    exec cat 2>/dev/null >>"$T/$1"
  )
  tail -c 2097152 >"$T/$1.tail"
  true >"$T/$1.eof"
}

supervise() {
  trap 'AGAIN=1' HUP INT TERM
  trap 'AGAIN=1; slay' USR1
  C= ME=0 BORN=0 PG=0
  { read -r ME X </proc/self/stat; } 2>/dev/null && inspect "$ME"
  [ "$PROC" = 1 ] || ME=$(sh -c 'echo $PPID')
  GROUP=$PG
  printf '%s %s %s %s %s\n' "$ME" "$BORN" "$BOOT" "$GROUP" "$STREAMER" >"$T/pid"
  ancestors "$STREAMER"
  claim "$T/go" || exit 0
  relay out <"$T/1" &
  RO=$!
  relay err <"$T/2" &
  RE=$!
  (
    umask "$UM"
    eval "$PRE"
    eval "exec $WORDS"
  ) </dev/null >"$T/1" 2>"$T/2" &
  C=$!
  printf '%s\n' "$@" 2>/dev/null >"$T/s" &
  FEED=$!
  # A trapped signal ends `wait` early. Asking again gives the status, or 127 if it had been given already.
  RC=
  while :; do
    AGAIN=
    wait "$C"
    X=$?
    [ "$X" = 127 ] && [ "$RC" ] || RC=$X
    [ "$AGAIN" ] || break
  done
  kill "$FEED" 2>/dev/null
  # A daemon that the command left behind may hold its output open: do not wait for it.
  J=0
  while [ ! -f "$T/out.eof" ] || [ ! -f "$T/err.eof" ]; do
    [ "$J" -lt 100 ] || break
    nap 0.02
    J=$((J + 1))
  done
  printf '%s\n' "$RC" >"$T/exit.new" && mv -f "$T/exit.new" "$T/exit"
}

# Moves file descriptor 0 forward by $1 bytes.
skip() {
  [ "$1" -ge 65536 ] && dd bs=65536 count=$(($1 / 65536)) >/dev/null 2>&1
  [ $(($1 % 65536)) -gt 0 ] && dd bs=$(($1 % 65536)) count=1 >/dev/null 2>&1
}

flow() {
  if [ -s "$T/out" ]; then cat <&3 || exit 0; fi
  if [ -s "$T/err" ]; then cat <&4 >&2 || exit 0; fi
}

# The end of both streams: what carries them does not keep one in step with the other.
finish() {
  printf '\036%s end\n' "$N" >&2
  say end "$@"
}

# The end of output that went over the cap, with the gap stated.
last_words() {
  printf '\n[output over %s bytes was dropped here]\n' $((CAP * 512))
  cat "$T/$1.tail"
}

# Sends what there is and what comes, then the end: exit STATUS, gone, rebooted, never.
stream() {
  if [ ! -f "$T/go" ]; then
    J=0
    while [ ! -f "$T/go" ] && [ "$J" -lt 300 ]; do
      nap 0.01
      J=$((J + 1))
    done
    if [ ! -f "$T/go" ] && claim "$T/go"; then
      finish never
      return
    fi
  fi
  if [ ! -f "$T/pid" ]; then
    finish tombstone
    return
  fi
  exec 3<"$T/out" 4<"$T/err"
  skip "$OFFSET_OUT" <&3
  skip "$OFFSET_ERR" <&4
  read -r SUP SBORN SBOOT X <"$T/pid"
  END=
  WAITED=0
  while :; do
    if [ -f "$T/exit" ]; then
      END=exit
    elif [ "$SBOOT" != "$BOOT" ]; then
      END=rebooted
    elif ! alive "$SUP" "$SBORN"; then
      END=gone
      [ -f "$T/exit" ] && END=exit
    fi
    flow
    [ "$END" ] && break
    WAITED=$((WAITED + 1))
    if [ "$WAITED" -lt 5 ]; then
      nap 0.02
    elif [ "$WAITED" -lt 15 ]; then
      nap 0.1
    elif [ "$WAITED" -lt 40 ]; then
      nap 0.3
    else
      sleep 1
    fi
  done
  if [ "$END" = exit ]; then
    read -r RC <"$T/exit"
    SLAIN=-
    [ -f "$T/slain" ] && read -r SLAIN <"$T/slain"
    OVER=0
    if [ -s "$T/out.tail" ]; then
      OVER=1
      [ "$OFFSET_OUT" -le $((CAP * 512)) ] && last_words out
    fi
    if [ -s "$T/err.tail" ]; then
      OVER=$((OVER + 2))
      [ "$OFFSET_ERR" -le $((CAP * 512)) ] && last_words err >&2
    fi
    finish exit "$RC" "$SLAIN" "$OVER"
  else
    finish "$END"
  fi
}

#: ensure clean
# What is left of a finished token is its tombstone: a directory with `go` in it.
bury() {
  rm -f "$T"/[!g]*
}

#: ensure
ensure() {
  read -r GO OFFSET_OUT OFFSET_ERR CAP COUNT || exit 0
  [ "$GO" = go ] || exit 0
  IFS= read -r PRE || exit 0
  IFS= read -r WORDS || exit 0
  set --
  while [ "$COUNT" -gt 0 ]; do
    IFS= read -r L || exit 0
    set -- "$@" "$L"
    COUNT=$((COUNT - 1))
  done
  fence
  if mkdir "$T" 2>/dev/null; then
    mkfifo "$T/s" "$T/1" "$T/2" || fail place "can't create a fifo in $T"
    true >"$T/out"
    true >"$T/err"
    STREAMER=$$
    case $WORDS in *'"$T/script"'*) FILE=1 ;; *) FILE= ;; esac
    if [ "$FILE" ]; then
      printf '%s\n' "$@" >"$T/script" || fail place "can't write $T/script"
      set --
    fi
    supervise "$@" </dev/null >/dev/null 2>&1 &
    say started
  elif [ -f "$T/exit" ]; then
    say attached finished
  elif [ -d "$T" ]; then
    say attached running
  else
    fail place "can't create $T"
  fi
  stream
  # The controller has the end on disk when it says so; without that word everything stays for the next one.
  read -r X && [ "$X" = clean ] && bury && say cleaned
}

#: tomb
tomb() {
  fence
  if mkdir "$T" 2>/dev/null; then
    true >"$T/go"
    say end tombstone
  elif claim "$T/go"; then
    say end tombstone
  elif [ -f "$T/exit" ]; then
    say end finished
  elif [ ! -f "$T/pid" ]; then
    say end tombstone
  else
    read -r SUP SBORN SBOOT X <"$T/pid"
    if [ "$SBOOT" != "$BOOT" ]; then
      say end rebooted
    elif alive "$SUP" "$SBORN"; then
      say end running
    else
      say end gone
    fi
  fi
}

#: stop
stop() {
  fence
  if [ ! -f "$T/pid" ]; then
    say end tombstone
    return
  fi
  read -r SUP SBORN SBOOT GROUP STREAMER <"$T/pid"
  if [ "$SBOOT" != "$BOOT" ]; then
    say end rebooted
    return
  fi
  J=0
  while [ ! -f "$T/exit" ] && alive "$SUP" "$SBORN" && [ "$J" -lt 400 ]; do
    [ $((J % 50)) = 0 ] && kill -USR1 "$SUP" 2>/dev/null
    nap 0.1
    J=$((J + 1))
  done
  if [ ! -f "$T/exit" ] && [ "$PROC" = 1 ] && ! alive "$SUP" "$SBORN"; then
    # The supervisor itself is gone: only its process group is left to go by.
    C=none ME=$$ RO=0 RE=0 FEED=0
    ancestors "$$"
    slay_the_rest
  fi
  SLAIN=unverified
  [ -f "$T/slain" ] && read -r SLAIN <"$T/slain"
  [ -f "$T/exit" ] && [ ! -f "$T/slain" ] && SLAIN=finished
  say end slain "$SLAIN"
}

#: clean
clean() {
  fence
  LEFT=0
  for T in "$D"/*/; do
    T=${T%/}
    [ -f "$T/pid" ] || continue
    if [ -f "$T/exit" ]; then
      bury
      continue
    fi
    read -r SUP SBORN SBOOT X <"$T/pid"
    if [ "$SBOOT" = "$BOOT" ] && alive "$SUP" "$SBORN"; then
      LEFT=$((LEFT + 1))
    else
      bury
    fi
  done
  say end cleaned "$LEFT"
}

#: look halt
# The work's processes into V: from the roots in V on, their descendants and whoever is in the process group.
family() {
  while :; do
    GREW=
    for F in /proc/[0-9]*; do
      X=${F##*/}
      case "$V$ANCESTORS$STREAMER " in *" $X "*) continue ;; esac
      inspect "$X" || continue
      [ "$ST" != Z ] || continue
      case "$ANCESTORS$STREAMER " in *" $PP "*) continue ;; esac
      case "$V" in *" $PP "*) ;; *) [ "$PG" = "$GROUP" ] || continue ;; esac
      V="$V$X "
      GREW=1
    done
    [ "$GREW" ] || break
  done
}

# The roots of a plain command: what we were told of, or what else the connection's own process has started.
siblings() {
  if [ "$P" != - ]; then
    IFS=,
    set -- ${P#-}
    IFS=' '
    for X; do
      case "$ANCESTORS" in *" $X "*) continue ;; esac
      inspect "$X" && [ "$ST" != Z ] && V="$V$X "
    done
    return 0
  fi
  for X in $ANCESTORS; do
    { read -r L <"/proc/$X/comm"; } 2>/dev/null || continue
    case $L in sshd*|dropbear*) J=$X; break ;; esac
  done
  [ "$J" ] || return 1
  for F in /proc/[0-9]*; do
    X=${F##*/}
    case "$ANCESTORS" in *" $X "*) continue ;; esac
    inspect "$X" && [ "$PP" = "$J" ] && [ "$ST" != Z ] && V="$V$X "
  done
  return 0
}

#: look
# Adds up what moves, and sees whether a tool for packages is there, and whether somebody reads from a terminal.
count() {
  COUNT=0 CPU=0 IO=0 TOOL= ASKS=-
  for X in $V; do
    { read -r L <"/proc/$X/stat"; } 2>/dev/null || continue
    NAME=${L#*(}
    NAME=${NAME%)*}
    set -- ${L##*) }
    COUNT=$((COUNT + 1))
    CPU=$((CPU + ${12} + ${13} + ${14} + ${15}))
    [ "$X" -gt "$LAST" ] && LAST=$X
    case $NAME in apt|apt-get|aptitude|dpkg|unattended-upgr*|yum|dnf*|microdnf|rpm|zypper|apk|pacman) TOOL=1 ;; esac
    while read -r K L; do
      case $K in rchar:|wchar:) IO=$((IO + L)) ;; esac
    done <"/proc/$X/io"
    L=
    { read -r L <"/proc/$X/wchan"; } 2>/dev/null
    case $L in *tty_read*|wait_woken) case $(readlink "/proc/$X/fd/0") in /dev/pts/*|/dev/tty*) ASKS=$X ;; esac ;; esac
  done 2>/dev/null
}

# Who else holds a lock of the package tools.
holder() {
  HOLDS=- NAME=-
  [ "$TOOL" ] || return
  for F in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock /run/zypp.pid /lib/apk/db/lock; do
    [ -e "$F" ] || continue
    set -- $(ls -i "$F" 2>/dev/null)
    while read -r X L J C X G L; do
      case $G in *:"$1") ;; *) continue ;; esac
      case "$V" in *" $X "*) continue ;; esac
      { read -r NAME <"/proc/$X/comm"; } 2>/dev/null || continue
      HOLDS=$X
      return
    done </proc/locks
  done
}

look() {
  V=" " J= LAST=0 GROUP=none STREAMER=" " C=
  if [ "$PROC" = 0 ]; then
    say end unknown
    return
  fi
  ancestors "$$"
  if [ "${P#-}" != "$P" ]; then
    if ! siblings; then
      say end unknown
      return
    fi
  else
    T=$P/$R/$K
    if [ -f "$T/exit" ] || [ ! -f "$T/pid" ]; then
      say end finished
      return
    fi
    read -r SUP SBORN SBOOT GROUP STREAMER <"$T/pid"
    STREAMER=" $STREAMER"
    if [ "$SBOOT" != "$BOOT" ]; then
      say end gone
      return
    fi
    alive "$SUP" "$SBORN" && V=" $SUP "
  fi
  family
  if [ "$V" = " " ]; then
    say end gone
    return
  fi
  count
  holder
  OVER=-
  { read -r OVER X </proc/loadavg; } 2>/dev/null
  say end alive "$COUNT" "$CPU" "$IO" "$LAST" "$OVER" "$ASKS" "$HOLDS" "$NAME"
}

#: halt
# Ends what a plain command has started on this connection: TERM, two seconds, KILL.
halt() {
  V=" " J= GROUP=none STREAMER=" "
  if [ "$PROC" = 0 ]; then
    say end unverified
    return
  fi
  ancestors "$$"
  if ! siblings; then
    say end unverified
    return
  fi
  family
  J=0
  kill -TERM $V 2>/dev/null
  while [ "$J" -lt 40 ] && left; do
    [ "$J" = 20 ] && kill -KILL $V 2>/dev/null
    nap 0.1
    J=$((J + 1))
  done
  if left; then say end survived; else say end verified; fi
}

# Whether any of V lives, or what it started meanwhile, which joins it.
left() {
  family
  for X in $V; do
    inspect "$X" && [ "$ST" != Z ] && return 0
  done
  return 1
}

#: ensure tomb stop clean look halt
look_around
read -r N VERB R E K P || exit 0
if [ "$VERB" = look ] || [ "$VERB" = halt ]; then
  :
elif [ "$P" = - ]; then
  choose_place
elif ! usable "$P"; then
  fail place "$P is not a directory of ours that can be written to"
fi
say hello "$BOOT" "$PROC" "$P"
$VERB
exit 0
