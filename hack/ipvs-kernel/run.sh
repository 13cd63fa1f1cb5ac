#!/bin/bash
# run.sh: run a program inside a throw-away Linux kernel that has IPVS.
#
#   run.sh [-t SECONDS] [-m MEM] [-w DIR]... [-e NAME[=VALUE]]... [-v] PROGRAM [ARG...]
#
#   -t SECONDS  time limit for boot + program (default 300); 124 is the exit code past it
#   -m MEM      guest memory (default 1G; only touched pages cost anything)
#   -w DIR      a host directory the program may write to (all else is a scratch overlay that is
#               thrown away); give a -test.coverprofile or -test.outputdir a home this way
#   -e NAME     pass (or set) an environment variable; PATH, HOME, TERM, LANG, GO* go by themselves
#   -v          the guest kernel's log to stderr at the end
#
# stdout, stderr and the exit code are the program's. 125: the guest kernel did not start, or died.
#
# The kernel is User-Mode Linux: an ordinary process, no KVM, no root, no network, no modules.
# $SKIFF_IPVS_KERNEL names it; without, build.sh makes one, once.
# The guest sees the host's file system read-only under an overlay, so nft, ipset, iptables,
# ipvsadm, ip ... are the host's own; a static Go test binary needs none of them.
# Guest: one CPU, root, own network (lo up, nothing else), network namespaces, veth, bridge, dummy.
# Host needs: bash, coreutils, mount (util-linux), /dev/shm or /tmp with MEM free and not noexec,
# and leave to ptrace its own children (docker's default seccomp profile allows it on Linux >= 4.8).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kernel=
limit=300 mem=1G verbose= writable=() envs=()
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
while getopts 't:m:w:e:vh' o; do
	case $o in
	t) limit=$OPTARG ;;
	m) mem=$OPTARG ;;
	w) writable+=("$(realpath -e "$OPTARG")") ;;
	e) envs+=("$OPTARG") ;;
	v) verbose=1 ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage
prog=$(command -v -- "$1") || { echo "$0: $1: not found" >&2; exit 127; }
prog=$(realpath -e "$prog"); shift
kernel=$("$here/build.sh") || { echo "$0: no kernel with IPVS" >&2; exit 125; }

work=$(mktemp -d "${TMPDIR:-/tmp}/ipvs-kernel.XXXXXX")
uml=
cleanup() {
	# setsid made the guest's processes one group of their own
	[ -z "$uml" ] || kill -KILL -- "-$uml" 2>/dev/null || :
	{ [ -z "$uml" ] || wait "$uml"; } 2>/dev/null || :
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work/uml" "$work/out"

{ # what the guest runs: environment, directory, program
	for v in PATH HOME TERM LANG $(compgen -e GO || :); do
		[ -z "${!v+x}" ] || printf 'export %s=%q\n' "$v" "${!v}"
	done
	for v in ${envs[@]+"${envs[@]}"}; do
		case $v in *=*) printf 'export %s=%q\n' "${v%%=*}" "${v#*=}" ;; *) [ -z "${!v+x}" ] || printf 'export %s=%q\n' "$v" "${!v}" ;; esac
	done
	printf 'export SKIFF_IPVS_KERNEL_GUEST=1\n'
	printf 'cd %q || exit 126\n' "$PWD"
	printf 'exec %q' "$prog"
	[ $# -eq 0 ] || printf ' %q' "$@"
	printf '\n'
} >"$work/program"

{
	printf 'work=%q\nwritable=(' "$work"
	[ ${#writable[@]} -eq 0 ] || printf '%q ' "${writable[@]}"
	printf ')\n'
	cat <<'INIT'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
fail() { echo "guest init: $*" >&2; echo o >/proc/sysrq-trigger; sleep 5; }
mount -t proc proc /proc
mount -t devtmpfs dev /dev
[ -c /dev/ttyS0 ] && [ -c /dev/ttyS1 ] || fail "no serial lines"
mount -t tmpfs tmpfs /run || fail tmpfs
mkdir /run/upper /run/workdir /run/root /run/out
mount -t hostfs -o "$work/out" none /run/out || fail hostfs
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/workdir overlay /run/root || fail overlay
r=/run/root
mount -t proc proc $r/proc
mount -t sysfs sysfs $r/sys
mount -t devtmpfs dev $r/dev
mkdir -p $r/dev/pts $r/dev/shm
mount -t devpts devpts $r/dev/pts
mount -t tmpfs tmpfs $r/dev/shm
mount -t tmpfs tmpfs $r/run
mkdir -p $r/run/netns $r/run/lock
for d in "${writable[@]}"; do mount -t hostfs -o "$d" none "$r$d" || fail "hostfs $d"; done
ln -sfn /proc/self/fd $r/dev/fd
ln -sfn /proc/self/fd/0 $r/dev/stdin
ln -sfn /proc/self/fd/1 $r/dev/stdout
ln -sfn /proc/self/fd/2 $r/dev/stderr
hostname ipvs-kernel 2>/dev/null || :
ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null || busybox ip link set lo up
ulimit -n 65536
# the program writes to pipes, not terminals; the two serial lines carry them out
stty -F /dev/ttyS0 raw -echo; stty -F /dev/ttyS1 raw -echo
mkfifo /run/o /run/e
cat /run/o >/dev/ttyS0 & co=$!
cat /run/e >/dev/ttyS1 & ce=$!
chroot $r /bin/bash "$work/program" </dev/null >/run/o 2>/run/e
rc=$?
# end what the program left behind, then let the lines drain however slow their reader is
for p in /proc/[0-9]*; do
	case ${p#/proc/} in 1 | $co | $ce) ;; *) kill -KILL "${p#/proc/}" ;; esac
done 2>/dev/null
wait $co $ce
echo $rc >/run/out/rc
cat /proc/uptime >/run/out/uptime
sync
echo o >/proc/sysrq-trigger
sleep 5
INIT
} >"$work/init"

# UML keeps guest memory in a file that it maps executable: /dev/shm, unless that is small or noexec (docker)
shm=/dev/shm
if grep -qE '^[^ ]+ /dev/shm [^ ]+ [^ ]*noexec' /proc/mounts ||
	[ "$(df --output=avail -k $shm 2>/dev/null | tail -n 1)" -lt 524288 ] 2>/dev/null || [ ! -w $shm ]; then
	shm=$work/uml
fi

exec 3>&1 4>&2
GLIBC_TUNABLES=glibc.pthread.rseq=0 TMPDIR=$shm setsid "$kernel" mem="$mem" uml_dir="$work/uml" umid=guest quiet panic=-1 \
	root=none rootfstype=hostfs rootflags=/ ro \
	con=null con0=null,fd:1 ssl=null ssl0=null,fd:3 ssl1=null,fd:4 \
	init=/bin/bash -- "$work/init" </dev/null >"$work/kernel.log" 2>&1 &
uml=$!
exec 3>&- 4>&-

( exec sleep "$limit" ) &
timer=$!
{ wait -n "$uml" "$timer"; } 2>/dev/null || :
code=
if [ -s "$work/out/rc" ]; then
	code=$(cat "$work/out/rc")
elif kill -0 "$uml" 2>/dev/null; then
	echo "$0: no end within $limit s" >&2
	code=124 verbose=${verbose:-1}
else
	echo "$0: the guest kernel died" >&2
	code=125 verbose=1
fi
{ kill "$timer"; wait "$timer"; } 2>/dev/null || :
[ -z "$verbose" ] || { echo "--- guest kernel log"; tail -n 60 "$work/kernel.log"; } >&2
exit "$code"
