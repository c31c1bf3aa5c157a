# The remote supervisor. POSIX sh only; no line may end inside quotes, because it is sent as one line (see script.rs).
# `#:` starts a section and names the verbs that need it. Processes are expensive, so builtins are preferred. Reads come
# next, with a system call for each byte, so /proc/PID/stat is read only where it matters.
#
# Layout: PLACE/RUN/e.N      the epochs that have been here
#         PLACE/RUN/mark     a random word, created once: a different mark means a different place
#         PLACE/RUN/TOKEN/   created by the process that starts or forbids this token: mkdir decides
#           go     created exclusively by the supervisor just before the command starts, or to forbid the start
#           pid    supervisor's pid, start time, boot id, process group, streamer's pid, machine id; written before go,
#                  and removed by a supervisor that did not get go
#           out err   output;  *.tail  the output after a gap;  *.eof  the stream has ended;  *.swept  removed once
#           exit   wait status, gaps (1 out, 2 err), a kill (v s u: verified, survived, unverified), hundredths of a
#                  second that it ran, streams with output (1 out, 2 err); created as exit.new before the start,
#                  overwritten in place and renamed, which works on a full disk
#           s 1 2  fifos: the command's text, its stdout, its stderr
# A power loss may leave any file empty, so unreadable content is ignored.
#: start attach stop clean look halt
# The command's environment may not contain our values, which it would if a variable of the same name were exported.
unset AB AGAIN AGE AI AM ANCESTORS ASKS BOOT BORN BYTES C CAP COUNT CPU D E END F FEED FILE G GO GREW GROUP HOLDS IO J K
unset L LAST LEFT LIVE LOST MACHINE MARK ME N NAME NODE NOTED OFFSET_ERR OFFSET_OUT OVER P PG PP PRE PROC R RC RE RET RO
unset SAID SBOOT SBORN SINCE SIZE SLAIN SMACHINE SPENT ST STREAMER SUP T TEXT TOOK TOOL U UM V VERB W WAITED WAKES WHOLE WHY WOKEN WORDS X
#: start
# The command gets the login's umask; reading it from /proc needs no process.
UM=
{ while read -r F UM; do [ "$F" = Umask: ] && break; UM=; done </proc/self/status; } 2>/dev/null
[ "$UM" ] || UM=$(umask)
#: start attach stop clean look halt
umask 077
IFS=' '

say() { printf '\036%s %s\n' "$N" "$*"; }
fail() { say error "$@"; exit 0; }

# Sleeps for some hundredths of a second, given as two digits, or for a second if `sleep` can't do fractions. SPENT
# counts the time slept, because the number of rounds does not tell it.
nap() {
  if [ -z "$WHOLE" ]; then
    sleep "0.$1" 2>/dev/null && SPENT=$((SPENT + 1$1 - 100)) && return
    WHOLE=1
  fi
  sleep 1
  SPENT=$((SPENT + 100))
}

# Sets W to $1 if it is a single harmless word, otherwise to `-`.
word() {
  W=$1
  case $W in ''|*[!0-9A-Za-z._-]*) W=- ;; esac
  [ "${#W}" -le 64 ] || W=-
}

# Creates a file exclusively; true for the process that created it.
claim() {
  set -C
  if true 2>/dev/null >"$1"; then
    set +C
    return 0
  fi
  set +C
  return 1
}

# Reads the state, parent, group and start time of pid $1 into ST PP PG BORN.
inspect() {
  case $1 in ''|*[!0-9]*) return 1 ;; esac
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
  PROC=0 MARK=-
  [ -r /proc/self/stat ] && PROC=1
  L=
  { read -r L </proc/sys/kernel/random/boot_id; } 2>/dev/null
  word "$L"
  BOOT=$W
  L=
  { read -r L </etc/machine-id || read -r L </var/lib/dbus/machine-id; } 2>/dev/null
  [ "$L" = uninitialized ] && L=
  word "$L"
  MACHINE=$W
  L=
  { read -r L </proc/sys/kernel/hostname; } 2>/dev/null || L=$(uname -n 2>/dev/null)
  word "$L"
  NODE=$W
}

# Finds the token's supervisor: from the pid file, or else from the controller's record in SUP and SBORN (`-` for none).
recall() {
  NOTED= SBOOT=$BOOT GROUP=none STREAMER=none SMACHINE=-
  if { read -r L <"$T/pid"; } 2>/dev/null; then
    set -- $L
    case $#${1:-x}${2:-x} in [5-9]*[!0-9]*|[!5-9]*) ;; *) NOTED=1 ;; esac
    [ "$NOTED" ] && SUP=$1 SBORN=$2 SBOOT=$3 GROUP=$4 STREAMER=$5 SMACHINE=${6:--}
  fi
  if [ -z "$NOTED" ] && [ "$SUP" != - ] && alive "$SUP" "$SBORN" && [ "$PROC" = 1 ]; then
    GROUP=$PG
  fi
  [ "${SUP:--}" != - ]
}

# Whether the work has ended; if so, sets RC OVER SLAIN TOOK SAID.
ended() {
  [ -f "$T/exit" ] || return 1
  RC= OVER= SLAIN= TOOK= SAID=
  { read -r RC OVER SLAIN TOOK SAID X <"$T/exit"; } 2>/dev/null
  case $RC in ''|*[!0-9]*) return 1 ;; esac
}

# Whether the token belongs to another machine, whose processes are invisible here. Older scripts did not record this.
foreign() {
  case ${SMACHINE:--} in -|"$MACHINE") return 1 ;; esac
  [ "$MACHINE" != - ]
}

#: start attach stop
# Whether $1 is one of our directories: real, owned by us, with one of our names.
usable() {
  case ${1##*/} in reveille|reveille-*[0-9]) ;; *) return 1 ;; esac
  [ -d "$1" ] || mkdir -p "$1" 2>/dev/null || return 1
  [ ! -L "$1" ] && [ -O "$1" ] && [ -w "$1" ]
}

# In the second line of df, the fourth word is the one before the only percentage.
room() {
  set -- $(df -Pk "$1" 2>/dev/null)
  SIZE=x
  for X; do
    case $X in *[0-9]%) break ;; esac
    SIZE=$X
  done
  case $SIZE in ''|*[!0-9]*) return 0 ;; esac
  [ "$SIZE" -ge 4096 ]
}

choose_place() {
  WHY= U=
  for P in "${HOME:-/nonexistent}/.local/state/reveille" /var/tmp/reveille /tmp/reveille; do
    case $P in /nonexistent/*|[!/]*|*/../*) continue ;; esac
    if [ "${P#*/tmp/}" = reveille ]; then
      [ "$U" ] || U=$(id -u)
      P=$P-$U
    fi
    if usable "$P"; then
      # If the run has a directory here, there was enough space before.
      [ -d "$P/$R" ] || room "$P" && return 0
      WHY="$WHY $P has only $SIZE KiB free;"
    else
      WHY="$WHY $P is not a directory of ours that can be written to;"
    fi
  done
  fail place "$WHY"
}

#: start attach stop clean
# Refuses to continue if a later controller has been here.
fence() {
  for F in "$D"/e.*; do
    F=${F##*.}
    [ "$F" -gt "$E" ] 2>/dev/null && fail fenced "$F"
  done
}

# Fences, and records our epoch.
enter() {
  fence
  [ -f "$D/e.$E" ] || true 2>/dev/null >"$D/e.$E" || fail place "can't write to $D"
}

recall_mark() {
  L=
  { read -r L <"$D/mark"; } 2>/dev/null
  word "$L"
  MARK=$W
  [ "$MARK" != - ]
}

#: start attach stop
# A link to a complete file is created atomically and only once: if two processes make a mark, both use the same one. A
# power loss may have emptied the file of an older mark; then this is a different place.
make_mark() {
  [ ! -e "$D/mark" ] || recall_mark || rm -f "$D/mark"
  { read -r X </proc/sys/kernel/random/uuid; } 2>/dev/null || X=$E.$$.$(date +%s)
  F=$D/m.$X
  if printf '%s\n' "$X" 2>/dev/null >"$F" && ! ln "$F" "$D/mark" 2>/dev/null; then
    # Some file systems have no links.
    set -C
    printf '%s\n' "$X" 2>/dev/null >"$D/mark"
    set +C
  fi
  rm -f "$F"
  recall_mark
}

settle_in() {
  if [ "$P" = - ]; then
    choose_place
  elif ! usable "$P"; then
    fail place "$P is not a directory of ours that can be written to"
  fi
  D=$P/$R T=$P/$R/$K
  if [ ! -d "$D" ]; then
    chmod 700 "$P" 2>/dev/null && mkdir "$D" 2>/dev/null || [ -d "$D" ] || fail place "can't create $D"
  fi
  enter
  recall_mark || make_mark || fail place "can't write to $D"
}

#: clean
# Creates nothing, and changes only what is ours. Only a process that may read the place can know what is missing.
settle_in() {
  case ${P##*/} in reveille|reveille-*[0-9]) ;; *) fail place "$P is no place of ours" ;; esac
  X=$P D=$P/$R
  while [ "$X" ] && [ ! -d "$X" ]; do
    X=${X%/*}
  done
  [ -x "${X:-/}" ] || fail place "${X:-/} is closed to us"
  [ -d "$P" ] || return
  [ ! -L "$P" ] && [ -O "$P" ] && [ -w "$P" ] || fail place "$P is not a directory of ours that can be written to"
  [ -d "$D" ] && [ ! -L "$D" ] || return
  enter
  recall_mark
}

#: start attach stop look halt
# The ancestors of pid $1: the connection's own processes, which are never touched.
ancestors() {
  ANCESTORS=" "
  X=$1
  while [ "$X" -gt 1 ] && inspect "$X"; do
    ANCESTORS="$ANCESTORS$X "
    X=$PP
  done
}

#: start attach stop
# Sets V to everything that belongs to the command: its process group, and its descendants in any group. Not the
# supervisor, the streamer, the relays, nor the children of those three.
victims() {
  V=" $C "
  while :; do
    GREW=
    for F in /proc/[0-9]*; do
      X=${F##*/}
      case "$V$ANCESTORS$ME $RO $RE $FEED " in *" $X "*) continue ;; esac
      inspect "$X" || continue
      case " $ME $STREAMER $RO $RE " in *" $PP "*) continue ;; esac
      # Processes that serve the connection itself, as on a terminal.
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

# Whether any victim lives; sets LIVE.
any_left() {
  victims
  LIVE=
  for X in $V; do
    inspect "$X" && [ "$ST" != Z ] && LIVE="$LIVE $X"
  done
  [ "$LIVE" ]
}

# TERM, two seconds, KILL; then sets SLAIN to whether anything is left.
slay() {
  [ -n "$C" ] || return 0
  if [ "$PROC" = 0 ]; then
    kill -TERM "$C" 2>/dev/null
    sleep 1
    kill -KILL "$C" 2>/dev/null
    SLAIN=u
    return 0
  fi
  # If the streamer has ended, so have its ancestors.
  ANCESTORS=" "
  inspect "$ME" && [ "$PP" = "$STREAMER" ] && ancestors "$STREAMER"
  SLAIN=u SPENT=0
  any_left && kill -TERM $LIVE 2>/dev/null
  while [ "$SPENT" -lt 200 ] && any_left; do
    nap 10
  done
  slay_the_rest
}

# KILL, until nothing is left or two seconds have passed. Does not look for new victims: the streamer's children may
# just have lost their parent.
slay_the_rest() {
  SPENT=0 SLAIN=v
  while any_left; do
    if [ "$SPENT" -ge 200 ]; then
      SLAIN=s
      break
    fi
    kill -KILL $LIVE 2>/dev/null
    nap 10
  done
  return 0
}

#: start
# Writes the output to a file up to the cap. After that, and when the disk is full, the output is dropped, except for
# its last MiB if there is space: the status records that there is a gap.
relay() {
  trap '' XFSZ
  ulimit -S -f "$CAP" 2>/dev/null || ulimit -f "$CAP"
  X=0
  if ! cat 2>/dev/null >>"$T/$1"; then
    X=1
    ulimit -S -f unlimited 2>/dev/null
    tail -c 1048576 2>/dev/null >"$T/$1.tail"
    cat >/dev/null
  fi
  true 2>/dev/null >"$T/$1.eof"
  exit "$X"
}

# Whether the relay of stream $1, process $2, still runs. It gets a moment first.
relaying() {
  [ -f "$T/$1.eof" ] && return 1
  [ "$PROC" = 0 ] || [ "${J:-11}" -lt 10 ] || { inspect "$2" && [ "$ST" != Z ]; }
}

# Whether a relay waits for the disk, rather than for a daemon that holds the command's output open.
stalled() {
  [ "$PROC" = 1 ] || return 1
  for F in /proc/[0-9]*; do
    inspect "${F##*/}" || continue
    case " $RO $RE " in *" $PP "*) [ "$ST" = D ] && return 0 ;; esac
  done
  return 1
}

# Waits for the last output: for a disk, but not for a daemon that the command left behind. Sets OVER to the gaps.
drain() {
  J=0 SPENT=0 OVER=0 L=
  while relaying out "$RO" || relaying err "$RE"; do
    J=$((J + 1))
    # Waiting for an empty process lets the others run, at a fifth of the cost of a sleep.
    if [ "$J" -le 10 ]; then
      (:)
      continue
    fi
    if [ "$SPENT" -ge 200 ]; then
      stalled || break
      [ "$SPENT" -lt 6000 ] || break
    fi
    nap 02
  done
  J=
  [ "$SPENT" -lt 6000 ] || J=1
  lost out "$RO" && OVER=1
  lost err "$RE" && OVER=$((OVER + 2))
  SAID=0
  [ -s "$T/out" ] && SAID=1
  [ -s "$T/err" ] && SAID=$((SAID + 2))
}

# Whether some output of stream $1 was dropped.
lost() {
  [ -e "$T/$1.tail" ] || [ -e "$T/$1.swept" ] && return 0
  if relaying "$1" "$2"; then
    [ "$J" ]
    return
  fi
  reap "$2"
  [ "$RET" != 0 ] && [ "$RET" != 127 ]
}

# Waits for child $1 and sets RET to its status. A trapped signal ends `wait` early and sets AGAIN; bash may let it end the
# next `wait` as well, which only another one shows. Waiting again returns the status, or 127 if it was returned already.
reap() {
  RET= LAST=
  while :; do
    AGAIN=
    wait "$1"
    X=$?
    [ "$X" = 127 ] && [ "$RET" ] || RET=$X
    [ "$AGAIN" ] || { [ "$X" -gt 128 ] && [ "$X" != "$LAST" ]; } || break
    LAST=$X
    [ -z "$AGAIN" ] || LAST=
  done
}

# Sets X to the uptime of this machine or container, in hundredths of a second; empty if unknown.
uptime_now() {
  X=
  { read -r X L </proc/uptime; } 2>/dev/null
  case $X in *[0-9].[0-9][0-9]) X=$((${X%.*} * 100 + 1${X#*.} - 100)) ;; *) X= ;; esac
}

# Forbids work that can't be started, so that nobody waits for it.
give_up() {
  claim "$T/go"
  rm -f "$T"/[!g]*
  fail place "can't write to $T"
}

supervise() {
  trap 'AGAIN=1' HUP INT TERM PIPE
  trap 'AGAIN=1; slay' USR1
  C= ME=0 BORN=0 PG=0 SLAIN=- FEED=
  { read -r ME X </proc/self/stat; } 2>/dev/null && inspect "$ME"
  [ "$PROC" = 1 ] || ME=$(sh -c 'echo $PPID')
  GROUP=$PG
  X="$ME $BORN"
  printf '%s\n' "$X $BOOT $GROUP $STREAMER $MACHINE" 2>/dev/null >"$T/pid" || give_up >&5
  # If our pid is not there, `go` is in a directory that was created later, for a tombstone.
  if ! claim "$T/go" || [ ! -f "$T/pid" ]; then
    rm -f "$T/pid"
    exit 0
  fi
  say started "$X" >&5
  exec 5>&-
  # It was our parent a moment ago.
  [ "$PROC" = 0 ] || kill -USR2 "$STREAMER" 2>/dev/null
  uptime_now
  SINCE=$X
  { relay out; } <"$T/1" &
  RO=$!
  { relay err; } <"$T/2" &
  RE=$!
  (
    umask "$UM"
    # The environment of the command may have variables with the names of ours.
    set -- "$T" "exec $WORDS"
    eval "$PRE"
    eval "$2"
  ) </dev/null >"$T/1" 2>"$T/2" &
  C=$!
  if [ "$#" -gt 0 ]; then
    printf '%s\n' "$@" 2>/dev/null >"$T/s" &
    FEED=$!
    set --
  fi
  reap "$C"
  RC=$RET
  uptime_now
  TOOK=-
  [ "$SINCE" ] && [ "$X" ] && TOOK=$((X - SINCE))
  [ "$FEED" ] && kill "$FEED" 2>/dev/null
  drain
  SPENT=0
  until printf '%-3s %s %-3s %-9s %s\n' "$RC" "$OVER" "$SLAIN" "$TOOK" "$SAID" 2>/dev/null 1<>"$T/exit.new" && mv -f "$T/exit.new" "$T/exit"; do
    [ -d "$T" ] && [ "$SPENT" -lt 6000 ] || break
    nap 50
  done
  wake
}

# Wakes the streamer, as long as it is our parent.
wake() {
  inspect "$ME" && [ "$PP" = "$STREAMER" ] && kill -USR2 "$STREAMER" 2>/dev/null
}

#: start attach
# Like `nap`, but ends when our own supervisor has news. WOKEN is cleared before each look, so that later news end the
# next sleep at once. An interrupted sleep ends by itself and holds nothing.
doze() {
  [ -z "$WOKEN" ] || return 0
  if [ "$WAKES" ]; then
    sleep "0.$1" </dev/null >/dev/null 2>&1 &
    X=$!
    SPENT=$((SPENT + 1$1 - 100))
    [ "$WOKEN" ] || wait "$X" || [ "$WOKEN" ] && return
    WAKES=
  fi
  nap "$1"
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

# Reports the end on both streams, because their order relative to each other is not kept.
finish() {
  printf '\036%s end\n' "$N" >&2
  say end "$@"
}

# Reports work that never existed. If the place was wiped and recreated since hello, this can't be known.
nothing() {
  X=$MARK
  recall_mark
  [ "$X" = "$MARK" ] || { finish elsewhere; exit 0; }
  finish "$1"
}

# Sends the end of incomplete output, with a statement of the gap, but without the first $2 bytes, which are recorded
# already. $3 is nonzero if the file is not the original one.
last_words() {
  if [ "$3" != 0 ] || [ -e "$T/$1.swept" ]; then
    printf '\n[some of the output may be lost here: its file was removed or cut short]\n'
    return
  fi
  SIZE=$(wc -c 2>/dev/null <"$T/$1")
  SIZE=$((SIZE))
  X=0
  [ "$2" -le "$SIZE" ] || X=$(($2 - SIZE))
  {
    if [ "$SIZE" -ge $((CAP * 512)) ]; then
      printf '\n[output over %s bytes was dropped here]\n' $((CAP * 512))
    else
      printf '\n[output after %s bytes was lost here: the host could not keep it]\n' "$SIZE"
    fi
    [ -s "$T/$1.tail" ] && cat "$T/$1.tail"
  } | tail -c "+$((X + 1))"
}

# Sets AGE to the seconds since the start, by the host's own clock. Start times count hundredths. A container may have
# its own uptime; then our own start is the best estimate of now.
tell_age() {
  AGE=-
  [ "$PROC" = 1 ] && [ "$SBOOT" = "$BOOT" ] || return 0
  case $SBORN in ''|0|*[!0-9]*) return 0 ;; esac
  inspect "$$" || return 0
  X=0
  { read -r X L </proc/uptime; } 2>/dev/null
  X=${X%.*}
  [ "$X" -ge $((BORN / 100)) ] || X=$((BORN / 100))
  [ "$X" -ge $((SBORN / 100)) ] && AGE=$((X - SBORN / 100))
}

# Waits until it is decided whether the command starts; true if we could forbid it, so it never will. Work that is
# recorded as begun is never forbidden.
forbidden() {
  [ "$SUP" = - ] && ! ended || return 1
  J=0 SPENT=0 WOKEN=
  while [ ! -f "$T/go" ] && [ "$SPENT" -lt 300 ]; do
    J=$((J + 1))
    if [ "$J" -le 8 ]; then (:); else doze 10; fi
    WOKEN=
  done
  [ ! -f "$T/go" ] || return 1
  if claim "$T/go"; then
    rm -f "$T/pid"
    return 0
  fi
  [ -f "$T/go" ] || fail place "can't write to $T"
  return 1
}

# Follows existing work to its end. $1 says that we started it.
follow() {
  if forbidden; then
    nothing never
    return
  fi
  if ! recall && ! ended; then
    # A process that forbids the start leaves no pid.
    if [ -e "$T/pid" ]; then finish gone; else nothing never; fi
    return
  fi
  if [ -z "$NOTED" ] && ! ended && ! alive "$SUP" "$SBORN" && ! ended; then
    # It did begin, but only its tombstone is left.
    finish gone
    return
  fi
  if ! ended && foreign; then
    finish elsewhere
    exit 0
  fi
  if [ -z "$1" ]; then
    if ended; then
      # Older scripts did not record how long it ran.
      say attached finished "${TOOK:--}"
    else
      tell_age
      say attached running "$AGE"
    fi
  fi
  stream
}

# Whether processes of the command live on without the supervisor: then it is not gone yet.
survivors() {
  [ "$PROC" = 1 ] && [ "${GROUP:-none}" != none ] || return 1
  C=none ME=${STREAMER:-$$} RO=0 RE=0 FEED=0
  ancestors "$$"
  any_left
}

# Whether stream $1 has fewer than the $2 bytes that are recorded already.
cut_short() {
  if [ ! -f "$T/$1" ]; then
    true >"$T/$1"
    return 0
  fi
  [ "$2" -gt 0 ] && SIZE=$(wc -c 2>/dev/null <"$T/$1") && [ "$2" -gt "$((SIZE))" ]
}

# Sends existing and new output, then the end: exit STATUS, gone, rebooted, never.
stream() {
  LOST=0
  cut_short out "$OFFSET_OUT" && LOST=1
  cut_short err "$OFFSET_ERR" && LOST=$((LOST + 2))
  exec 3<"$T/out" 4<"$T/err"
  skip "$OFFSET_OUT" <&3
  skip "$OFFSET_ERR" <&4
  END=
  WAITED=0
  while :; do
    WOKEN=
    if ended; then
      END=exit
    elif [ "$SBOOT" != "$BOOT" ]; then
      END=rebooted
    elif [ -n "$WAKES" ] && [ "$WAITED" -lt 2 ]; then
      # This is our own supervisor, which has only just begun.
      :
    elif ! alive "$SUP" "$SBORN"; then
      # In this order, because it may have ended in between.
      if ended; then
        END=exit
      elif ! survivors; then
        END=gone
      fi
    fi
    flow
    [ "$END" ] && break
    WAITED=$((WAITED + 1))
    if [ "$WAITED" -lt 3 ]; then
      doze 10
    elif [ "$WAITED" -lt 40 ]; then
      doze 30
    else
      doze 99
    fi
  done
  if [ "$END" != exit ]; then
    finish "$END"
    return
  fi
  if [ -z "$OVER" ]; then
    # Written by older scripts.
    OVER=0
    [ -s "$T/out.tail" ] && OVER=1
    [ -s "$T/err.tail" ] && OVER=$((OVER + 2))
    SLAIN=-
    [ -f "$T/slain" ] && read -r SLAIN <"$T/slain"
  fi
  case $SAID in 1|3) [ -s "$T/out" ] || LOST=$((LOST | 1)) ;; esac
  case $SAID in 2|3) [ -s "$T/err" ] || LOST=$((LOST | 2)) ;; esac
  # If there is a gap, a part of its statement may be recorded too.
  LOST=$((LOST & ~OVER))
  OVER=$((OVER | LOST))
  case $OVER in 1|3) last_words out "$OFFSET_OUT" $((LOST & 1)) ;; esac
  case $OVER in 2|3) last_words err "$OFFSET_ERR" $((LOST & 2)) >&2 ;; esac
  case $SLAIN in v) SLAIN=verified ;; s) SLAIN=survived ;; u) SLAIN=unverified ;; esac
  finish exit "$RC" "$SLAIN" "$OVER"
}

# `clean` means that the controller has the end on disk; without it, all files stay for the next controller.
let_go() {
  read -r X && [ "$X" = clean ] && bury && say cleaned
}

#: start attach clean
# Leaves a tombstone of a finished token: a directory with `go` in it.
bury() {
  rm -f "$T"/[!g]*
}

#: start
# Reads the text and the nonce's line, if no tool can count bytes.
lines() {
  while [ "$COUNT" -ge 0 ]; do
    IFS= read -r L || return 1
    printf '%s\n' "$L"
    COUNT=$((COUNT - 1))
  done
}

# The nonce's line follows the text, and shows whether the text is complete. Long texts are read by their number of
# bytes, because appending line by line takes quadratic time. No input follows the text before the end is reported, so a
# tool may read ahead.
start() {
  read -r GO AM AB AI CAP BYTES COUNT || exit 0
  [ "$GO" = go ] || exit 0
  IFS= read -r PRE || exit 0
  IFS= read -r WORDS || exit 0
  set --
  if [ "$COUNT" -le 64 ]; then
    while [ "$COUNT" -gt 0 ]; do
      IFS= read -r L || exit 0
      set -- "$@" "$L"
      COUNT=$((COUNT - 1))
    done
    IFS= read -r L || exit 0
    [ "$L" = "$N" ] || exit 0
  else
    TEXT=$({ head -c "$BYTES" 2>/dev/null || lines; } && echo x)
    # Checked first: removing a missing suffix takes quadratic time in bash.
    case $TEXT in *"$N"?x) ;; *) exit 0 ;; esac
    set -- "${TEXT%?"$N"?x}"
    TEXT=
  fi
  fence
  recall_mark
  if [ "$AM $AB $AI" != "$MARK $BOOT $MACHINE" ]; then
    finish elsewhere
    return
  fi
  SUP=- SBORN=- OFFSET_OUT=0 OFFSET_ERR=0
  if [ ! -d "$T" ] && mkdir "$T" 2>/dev/null; then
    # The place may have been wiped and recreated in between.
    recall_mark
    if [ "$MARK" != "$AM" ]; then
      claim "$T/go"
      finish elsewhere
      return
    fi
    STREAMER=$$ WAKES=1
    trap 'WOKEN=1' USR2
    {
      printf '%-21s\n' - >"$T/exit.new" && true >"$T/out" && true >"$T/err" && mkfifo "$T/s" "$T/1" "$T/2"
    } 2>/dev/null || give_up
    case $WORDS in *'"$1/script"'*) FILE=1 ;; *) FILE= ;; esac
    if [ "$FILE" ]; then
      printf '%s\n' "$@" 2>/dev/null >"$T/script" || give_up
      set --
    fi
    # In braces: dash would keep copies of what the redirections of a function replace, and a daemon that holds the
    # command's output open would hold the connection's channel open too.
    { supervise "$@"; } 5>&1 </dev/null >/dev/null 2>&1 &
    set --
    follow started
  elif [ -d "$T" ]; then
    set --
    follow
  else
    fail place "can't create $T"
  fi
  let_go
}

#: attach
attach() {
  read -r GO OFFSET_OUT OFFSET_ERR CAP SUP SBORN || exit 0
  [ "$GO" = attach ] || exit 0
  fence
  if [ ! -d "$T" ] && mkdir "$T" 2>/dev/null && claim "$T/go"; then
    if [ "$SUP" = - ] || ! alive "$SUP" "$SBORN"; then
      nothing absent
      return
    fi
    # The directory was swept during the run. The command can still leave its status here; its output has a gap.
    OFFSET_OUT=0 OFFSET_ERR=0
    for F in out err out.swept err.swept; do
      true >"$T/$F"
    done
  fi
  [ -d "$T" ] || fail place "can't create $T"
  follow
  let_go
}

#: stop
stop() {
  read -r SUP SBORN || exit 0
  if ! recall; then
    if [ -e "$T/pid" ]; then say end slain unverified; else say end tombstone; fi
    return
  fi
  if foreign; then
    say end elsewhere
    return
  fi
  if [ "$SBOOT" != "$BOOT" ]; then
    say end rebooted
    return
  fi
  J=0 SPENT=0
  while ! ended && alive "$SUP" "$SBORN" && [ "$SPENT" -lt 4000 ]; do
    if [ "$SPENT" -ge "$J" ]; then
      kill -USR1 "$SUP" 2>/dev/null
      J=$((SPENT + 500))
    fi
    nap 10
  done
  SLAIN=u
  if [ "$PROC" = 1 ] && [ "$GROUP" != none ] && ! alive "$SUP" "$SBORN" && ! ended; then
    # The supervisor itself has ended: only its process group is left to identify the command.
    C=none ME=$$ RO=0 RE=0 FEED=0
    ancestors "$$"
    slay_the_rest
  fi
  if ended; then
    # Written by older scripts.
    [ "$OVER" ] || SLAIN=-
    [ -f "$T/slain" ] && read -r SLAIN <"$T/slain"
  fi
  case $SLAIN in -) SLAIN=finished ;; v) SLAIN=verified ;; s) SLAIN=survived ;; u) SLAIN=unverified ;; esac
  say end slain "$SLAIN"
}

#: clean
clean() {
  read -r AI AM || exit 0
  LEFT=0
  case $AI in -|"$MACHINE") ;; *) [ "$MACHINE" = - ] || LEFT=elsewhere ;; esac
  case $AM in -|"$MARK") ;; *) [ "$MARK" = - ] || LEFT=elsewhere ;; esac
  if [ "$LEFT" = elsewhere ]; then
    say end elsewhere
    return
  fi
  for T in "$D"/*/; do
    T=${T%/}
    X=${T##*/}
    case $X in *[!0-9a-f]*) continue ;; esac
    # Without `go`, the work may be about to start.
    [ "${#X}" = 32 ] && [ ! -L "$T" ] && [ -f "$T/pid" ] && [ -f "$T/go" ] || continue
    SUP=-
    if ! recall || foreign; then
      # On another machine, so its processes can't be checked.
      if ended; then bury; else LEFT=$((LEFT + 1)); fi
    elif ! ended && [ "$SBOOT" = "$BOOT" ] && alive "$SUP" "$SBORN"; then
      LEFT=$((LEFT + 1))
    else
      bury
    fi
  done
  say end cleaned "$LEFT"
}

#: look halt
# Extends V from its processes to their descendants and the members of the process group.
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

# The roots of a plain command: the pids in the request, or the other children of the connection's process.
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
# Adds up the counters; sets TOOL if there is a package tool, and ASKS if a process reads from a terminal: to ? if it
# belongs to another user, such as sudo, and may do so.
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
    case $L in 0|'') [ "$ASKS$1" = -S ] && [ "$5" != 0 ] && [ "$3" = "$6" ] && ASKS=? ;; esac
  done 2>/dev/null
}

# Finds another process that holds a lock of the package tools.
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
    T=$P/$R/$K SUP=-
    if ended || ! recall; then
      say end finished
      return
    fi
    if foreign; then
      say end unknown
      return
    fi
    STREAMER=" $STREAMER"
    if [ "$SBOOT" = "$BOOT" ]; then
      alive "$SUP" "$SBORN" && V=" $SUP "
    else
      GROUP=none
    fi
  fi
  family
  if [ "$V" = " " ]; then
    # It may have ended in the meantime.
    if [ "$T" ] && ended; then say end finished; else say end gone; fi
    return
  fi
  count
  holder
  OVER=-
  { read -r OVER X </proc/loadavg; } 2>/dev/null
  say end alive "$COUNT" "$CPU" "$IO" "$LAST" "$OVER" "$ASKS" "$HOLDS" "$NAME"
}

#: halt
# Kills everything that a plain command has started on this connection: TERM, two seconds, KILL.
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
  SPENT=0
  kill -TERM $V 2>/dev/null
  while left; do
    if [ "$SPENT" -ge 400 ]; then
      say end survived
      return
    fi
    [ "$SPENT" -ge 200 ] && kill -KILL $V 2>/dev/null
    nap 10
  done
  say end verified
}

# Whether any process of V lives, or one that it started meanwhile, which is added to V.
left() {
  family
  for X in $V; do
    inspect "$X" && [ "$ST" != Z ] && return 0
  done
  return 1
}

#: start attach stop clean look halt
look_around
# A script that is a program has its orders in front; one that is evaluated has them behind it.
if [ "$#$1" = 7orders ]; then
  N=$2 VERB=$3 R=$4 E=$5 K=$6 P=$7
else
  read -r N VERB R E K P || exit 0
fi
set --
#: start attach stop clean
settle_in
#: start attach stop clean look halt
say hello "$BOOT" "$PROC" "$MACHINE" "$NODE" "$MARK" "$P"
$VERB
exit 0
