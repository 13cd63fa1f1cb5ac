#!/bin/bash
# build.sh [OUT]: make the User-Mode Linux kernel that run.sh runs programs in, and print where it is.
#
# Without OUT it goes to a cache folder, named after this file's contents, and is made only once.
# With SKIFF_IPVS_KERNEL set nothing is made: that kernel is used.
# Everything that IPVS, nftables, iptables-legacy and ipset need is built in (no modules), statically
# linked: 9 MB that run on any x86-64 Linux. Takes 5 to 9 minutes on two cores.
#
# Needs (Debian 12): linux-source-6.1 gcc libc6-dev make flex bison bc patch xz-utils. What is missing
# is fetched by apt-get: tools when run as root, the source in any case.
# LINUX_SOURCE: the source archive (default /usr/src/linux-source-6.1.tar.xz)
set -euo pipefail

if [ -n "${SKIFF_IPVS_KERNEL:-}" ]; then
	[ -x "$SKIFF_IPVS_KERNEL" ] || { echo "SKIFF_IPVS_KERNEL: $SKIFF_IPVS_KERNEL is no program" >&2; exit 1; }
	echo "$SKIFF_IPVS_KERNEL"
	exit
fi
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "User-Mode Linux needs Linux on x86-64" >&2; exit 1; }

version=$(sha256sum "${BASH_SOURCE[0]}" | cut -c 1-16)
out=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/skiff/ipvs-kernel/$version/linux}")
if [ -z "${1:-}" ] && [ -x "$out" ]; then
	echo "$out"
	exit
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/ipvs-kernel-build.XXXXXX")
trap 'rm -rf "$dir"' EXIT

missing=
for tool in gcc:gcc make:make flex:flex bison:bison bc:bc patch:patch xz:xz-utils; do
	command -v "${tool%%:*}" >/dev/null || missing="$missing ${tool##*:}"
done
if [ -n "$missing" ]; then
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "to make a kernel with IPVS, install:$missing" >&2; exit 1; }
	{ apt-get update -q && apt-get install -qy --no-install-recommends $missing libc6-dev; } >&2
fi
archive=${LINUX_SOURCE:-/usr/src/linux-source-6.1.tar.xz}
if [ ! -e "$archive" ]; then
	command -v apt-get >/dev/null || { echo "no $archive: install linux-source-6.1 or set LINUX_SOURCE" >&2; exit 1; }
	mkdir "$dir/source"
	(cd "$dir/source" && apt-get download -q linux-source-6.1 && dpkg-deb -x ./*.deb .) >&2
	archive=$dir/source/usr/src/linux-source-6.1.tar.xz
fi
export KBUILD_BUILD_TIMESTAMP='1970-01-01' KBUILD_BUILD_USER=build KBUILD_BUILD_HOST=ipvs ARCH=um
mkdir "$dir/linux"

# the drivers and architectures that UML never compiles are two thirds of the tree
xz -dc -T0 "$archive" | tar -x -C "$dir/linux" --strip-components=1 \
	--exclude='*/Documentation/*/*' --exclude='*/tools/testing/*' --exclude='*/tools/perf/*' \
	--exclude='*/drivers/gpu/*.[ch]' --exclude='*/drivers/media/*.[ch]' --exclude='*/drivers/net/ethernet/*.[ch]' \
	--exclude='*/drivers/net/wireless/*.[ch]' --exclude='*/drivers/staging/*.[ch]' --exclude='*/sound/*.[ch]' \
	--exclude='*/drivers/scsi/*.[ch]' --exclude='*/drivers/infiniband/*.[ch]' --exclude='*.dts' --exclude='*.dtsi'
cd "$dir/linux"

patch -s -p1 <<'PATCH'
--- a/arch/x86/um/os-Linux/registers.c
+++ b/arch/x86/um/os-Linux/registers.c
@@ -6,6 +6,7 @@
 
 #include <errno.h>
 #include <stdlib.h>
+#include <string.h>
 #include <sys/ptrace.h>
 #ifdef __i386__
 #include <sys/user.h>
@@ -19,6 +20,11 @@
 
 int have_xstate_support;
 
+/* The host's whole XSAVE area. PTRACE_SETREGSET takes nothing shorter, and it is longer
+ * than FP_SIZE where the processor has AMX (11008 bytes against 2696). */
+static char xsave_area[65536];
+static size_t xsave_size;
+
 int save_i387_registers(int pid, unsigned long *fp_regs)
 {
 	if (ptrace(PTRACE_GETFPREGS, pid, 0, fp_regs) < 0)
@@ -54,8 +60,9 @@
 #ifdef PTRACE_SETREGSET
 	struct iovec iov;
 	if (have_xstate_support) {
-		iov.iov_base = fp_regs;
-		iov.iov_len = FP_SIZE * sizeof(unsigned long);
+		memcpy(xsave_area, fp_regs, FP_SIZE * sizeof(unsigned long));
+		iov.iov_base = xsave_area;
+		iov.iov_len = xsave_size;
 		if (ptrace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &iov) < 0)
 			return -errno;
 		return 0;
@@ -126,19 +133,15 @@
 void arch_init_registers(int pid)
 {
 #ifdef PTRACE_GETREGSET
-	void * fp_regs;
 	struct iovec iov;
 
-	fp_regs = malloc(FP_SIZE * sizeof(unsigned long));
-	if(fp_regs == NULL)
-		return;
-
-	iov.iov_base = fp_regs;
-	iov.iov_len = FP_SIZE * sizeof(unsigned long);
-	if (ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &iov) == 0)
+	iov.iov_base = xsave_area;
+	iov.iov_len = sizeof(xsave_area);
+	if (ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &iov) == 0) {
 		have_xstate_support = 1;
-
-	free(fp_regs);
+		xsave_size = iov.iov_len;
+		memset(xsave_area, 0, sizeof(xsave_area));
+	}
 #endif
 }
 #endif
PATCH

cat >fragment <<'CONFIG'
CONFIG_64BIT=y
CONFIG_STATIC_LINK=y
CONFIG_HOSTFS=y
CONFIG_STDERR_CONSOLE=y
CONFIG_SSL=y
CONFIG_NULL_CHAN=y
CONFIG_MCONSOLE=y
CONFIG_MAGIC_SYSRQ=y
CONFIG_CON_ZERO_CHAN="fd:0,fd:1"
CONFIG_CON_CHAN="null"
CONFIG_SSL_CHAN="null"
CONFIG_UML_RANDOM=y
CONFIG_HW_RANDOM=y
CONFIG_PRINTK=y
CONFIG_KALLSYMS=y
CONFIG_BUG=y
CONFIG_HIGH_RES_TIMERS=y
CONFIG_NO_HZ_IDLE=y
CONFIG_POSIX_TIMERS=y
CONFIG_MULTIUSER=y
CONFIG_BINFMT_ELF=y
CONFIG_BINFMT_SCRIPT=y
CONFIG_FUTEX=y
CONFIG_EPOLL=y
CONFIG_SIGNALFD=y
CONFIG_TIMERFD=y
CONFIG_EVENTFD=y
CONFIG_SHMEM=y
CONFIG_AIO=y
CONFIG_MEMBARRIER=y
CONFIG_ADVISE_SYSCALLS=y
CONFIG_FILE_LOCKING=y
CONFIG_INOTIFY_USER=y
CONFIG_FHANDLE=y
CONFIG_PROC_FS=y
CONFIG_PROC_SYSCTL=y
CONFIG_SYSFS=y
CONFIG_TMPFS=y
CONFIG_TMPFS_XATTR=y
CONFIG_DEVTMPFS=y
CONFIG_UNIX98_PTYS=y
CONFIG_TTY=y
CONFIG_OVERLAY_FS=y
CONFIG_NAMESPACES=y
CONFIG_UTS_NS=y
CONFIG_SYSVIPC=y
CONFIG_IPC_NS=y
CONFIG_USER_NS=y
CONFIG_PID_NS=y
CONFIG_NET_NS=y
CONFIG_NET=y
CONFIG_PACKET=y
CONFIG_UNIX=y
CONFIG_INET=y
CONFIG_IP_ADVANCED_ROUTER=y
CONFIG_IP_MULTIPLE_TABLES=y
CONFIG_INET_DIAG=y
CONFIG_IPV6=y
CONFIG_IPV6_MULTIPLE_TABLES=y
CONFIG_NETDEVICES=y
CONFIG_NET_CORE=y
CONFIG_DUMMY=y
CONFIG_VETH=y
CONFIG_BRIDGE=y
CONFIG_IP_SCTP=y
CONFIG_NETFILTER=y
CONFIG_NETFILTER_ADVANCED=y
CONFIG_BRIDGE_NETFILTER=y
CONFIG_NETFILTER_NETLINK_LOG=y
CONFIG_NETFILTER_NETLINK_ACCT=y
CONFIG_NF_CONNTRACK=y
CONFIG_NF_LOG_SYSLOG=y
CONFIG_NF_CONNTRACK_MARK=y
CONFIG_NF_CONNTRACK_ZONES=y
CONFIG_NF_CONNTRACK_PROCFS=y
CONFIG_NF_CONNTRACK_EVENTS=y
CONFIG_NF_CONNTRACK_LABELS=y
CONFIG_NF_CT_PROTO_SCTP=y
CONFIG_NF_CT_NETLINK=y
CONFIG_NF_NAT=y
CONFIG_NF_TABLES=y
CONFIG_NF_TABLES_INET=y
CONFIG_NF_TABLES_IPV4=y
CONFIG_NF_TABLES_IPV6=y
CONFIG_NF_TABLES_ARP=y
CONFIG_NF_TABLES_BRIDGE=y
CONFIG_NFT_NUMGEN=y
CONFIG_NFT_CT=y
CONFIG_NFT_CONNLIMIT=y
CONFIG_NFT_LOG=y
CONFIG_NFT_LIMIT=y
CONFIG_NFT_MASQ=y
CONFIG_NFT_REDIR=y
CONFIG_NFT_NAT=y
CONFIG_NFT_OBJREF=y
CONFIG_NFT_QUOTA=y
CONFIG_NFT_REJECT=y
CONFIG_NFT_COMPAT=y
CONFIG_NFT_HASH=y
CONFIG_NFT_FIB_INET=y
CONFIG_NFT_FIB_IPV4=y
CONFIG_NFT_FIB_IPV6=y
CONFIG_NETFILTER_XTABLES=y
CONFIG_NETFILTER_XT_MARK=y
CONFIG_NETFILTER_XT_CONNMARK=y
CONFIG_NETFILTER_XT_SET=y
CONFIG_NETFILTER_XT_NAT=y
CONFIG_NETFILTER_XT_TARGET_CT=y
CONFIG_NETFILTER_XT_TARGET_LOG=y
CONFIG_NETFILTER_XT_TARGET_MASQUERADE=y
CONFIG_NETFILTER_XT_TARGET_REDIRECT=y
CONFIG_NETFILTER_XT_MATCH_ADDRTYPE=y
CONFIG_NETFILTER_XT_MATCH_COMMENT=y
CONFIG_NETFILTER_XT_MATCH_CONNTRACK=y
CONFIG_NETFILTER_XT_MATCH_IPVS=y
CONFIG_NETFILTER_XT_MATCH_LIMIT=y
CONFIG_NETFILTER_XT_MATCH_MULTIPORT=y
CONFIG_NETFILTER_XT_MATCH_NFACCT=y
CONFIG_NETFILTER_XT_MATCH_PHYSDEV=y
CONFIG_NETFILTER_XT_MATCH_RECENT=y
CONFIG_NETFILTER_XT_MATCH_SCTP=y
CONFIG_NETFILTER_XT_MATCH_STATE=y
CONFIG_NETFILTER_XT_MATCH_STATISTIC=y
CONFIG_IP_SET=y
CONFIG_IP_SET_BITMAP_PORT=y
CONFIG_IP_SET_HASH_IP=y
CONFIG_IP_SET_HASH_IPPORT=y
CONFIG_IP_SET_HASH_IPPORTIP=y
CONFIG_IP_SET_HASH_IPPORTNET=y
CONFIG_IP_SET_HASH_NET=y
CONFIG_IP_SET_HASH_NETPORT=y
CONFIG_IP_SET_LIST_SET=y
CONFIG_IP_VS=y
CONFIG_IP_VS_IPV6=y
CONFIG_IP_VS_PROTO_TCP=y
CONFIG_IP_VS_PROTO_UDP=y
CONFIG_IP_VS_PROTO_SCTP=y
CONFIG_IP_VS_RR=y
CONFIG_IP_VS_WRR=y
CONFIG_IP_VS_LC=y
CONFIG_IP_VS_WLC=y
CONFIG_IP_VS_FO=y
CONFIG_IP_VS_OVF=y
CONFIG_IP_VS_LBLC=y
CONFIG_IP_VS_LBLCR=y
CONFIG_IP_VS_DH=y
CONFIG_IP_VS_SH=y
CONFIG_IP_VS_MH=y
CONFIG_IP_VS_SED=y
CONFIG_IP_VS_NQ=y
CONFIG_IP_VS_NFCT=y
CONFIG_IP_NF_IPTABLES=y
CONFIG_IP_NF_FILTER=y
CONFIG_IP_NF_TARGET_REJECT=y
CONFIG_IP_NF_NAT=y
CONFIG_IP_NF_MANGLE=y
CONFIG_IP_NF_RAW=y
CONFIG_IP6_NF_IPTABLES=y
CONFIG_IP6_NF_FILTER=y
CONFIG_IP6_NF_TARGET_REJECT=y
CONFIG_IP6_NF_MANGLE=y
CONFIG_IP6_NF_RAW=y
CONFIG_IP6_NF_NAT=y
CONFIG

make -s allnoconfig >/dev/null
KCONFIG_CONFIG=.config scripts/kconfig/merge_config.sh -m .config fragment >/dev/null
make -s olddefconfig
missing=$(grep -o '^CONFIG_[A-Z0-9_]*=y' fragment | grep -vxFf .config || :)
[ -z "$missing" ] || { echo "the kernel's configuration refuses:" $missing >&2; exit 1; }
make -s -j"$(nproc)" linux >&2
mkdir -p "$(dirname "$out")"
strip -o "$out.new" linux
mv "$out.new" "$out"
echo "$out"
