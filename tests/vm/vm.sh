# SPDX-License-Identifier: Apache-2.0
# The outside of a case: boots a virtual machine, runs the very script that
# sources lib.sh inside of it, and ends as that ended. Sourced by lib.sh.
#
#   STEAD_BUILD   build directory with the programs (default: ./build)
#   STEAD_KEEP=1  leave the disks and the console behind
#   TRACE=1       show what the case does and when
#
# What the guest may say on its console:
#   vm: begin         from here on its output is the test's
#   vm: keep NAME=VALUE   known to the next boot
#   vm: power failure     ends the machine as it is; it boots again on the same disks
#   vm: exit N            how the case ended
# shellcheck shell=bash disable=SC2154
set -u -o pipefail

case_name=$(basename "$0" .sh)
script=$(realpath "$0")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
build=$(cd "${STEAD_BUILD:-$top/build}" && pwd) || exit 1
image=$build/vm-image
machine= work=

finish() {
	local status=$?

	trap - EXIT INT TERM HUP
	machine_kill
	if [ -n "${STEAD_KEEP:-}" ]; then
		echo "kept $work"
	else
		rm -rf "$work"
	fi
	exit "$status"
}

# A machine is a group of processes.
machine_kill() {
	[ -n "$machine" ] || return 0
	kill -KILL -- "-$machine" 2>/dev/null
	{ wait "$machine"; } 2>/dev/null
	machine=
}

give_up() {
	printf 'FAILED: %s\n--- the console of boot %s\n' "$1" "$boot" >&2
	tail -n 200 "$work/console.$boot" >&2
	exit 1
}

without() {
	printf 'SKIPPED: %s\n' "$*"
	exit 77
}

machine_kind=${machine_kind:-$kind}
for tool in qemu-system-x86_64 linux.uml busybox cpio depmod mke2fs mkfs.xfs dmsetup fio jq sqlite3 xz; do
	PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null ||
		without "$tool is not installed: tools/install-deps vm"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/stead-vm-$case_name.XXXXXX") || exit 1
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkfifo "$work/console"
[ -n "${programs[*]:-}" ] ||
	programs=(ctl/stead agent/stead-agent receiver/stead-receiver tests/e2e/stamp-writer tests/e2e/stamp-check tests/vm/disk-log)
"$here/make-image" "$image" "${programs[@]/#/$build/}" >"$work/make-image.log" 2>&1 </dev/null || {
	cat "$work/make-image.log" >&2
	! grep -qE 'Unable to fetch|the package index has no' "$work/make-image.log" || without "the kernel cannot be fetched"
	exit 1
}

programs+=(${more_programs[@]+"${more_programs[@]}"})
[ -e "$image/$machine_kind/kernel" ] || without "the newest kernel cannot be fetched (then remove $image)"

# The programs, the scripts and the order of the day: what differs between boots.
order_write() {
	local stage=$work/initramfs file name

	mkdir -p "$stage/stead"
	(cd "$top" && cp --parents tests/vm/{lib.sh,guest} tests/e2e/{lib,transactions}.sh "${script#"$top/"}" "$stage/stead")
	for file in "${programs[@]}"; do
		mkdir -p "$stage/stead/build/${file%/*}"
		cp "$build/$file" "$stage/stead/build/$file" || return 1
	done
	{
		# The guest's own end comes a little before ours: it can say more.
		echo "boot=$boot seconds=$((deadline - SECONDS - 15))"
		for name in SEED ROUNDS TRACE STEAD_PATIENCE; do
			[ -z "${!name:-}" ] || printf 'export %s=%q\n' "$name" "${!name}"
		done
		printf 'script=%q\narguments=(%s)\n' "${script#"$top/"}" "${arguments[*]@Q}"
		cat "$work/kept"
	} >"$stage/stead/order"
	cp "$image/$machine_kind/initramfs" "$work/initrd"
	(cd "$stage" && find . | cpio -o -H newc -R 0:0 --quiet) >>"$work/initrd"
	rm -rf "$stage"
}

# The first is the root file system, those that the case named follow.
command_make() {
	local disk number=1

	if [ "$kind" = nbd ]; then
		command=("$image/nbd/kernel" "mem=${memory}M" "initrd=$work/initrd" "ubd0r=$image/root.img" "uml_dir=$work" "umid=uml"
			con=null con0=null,fd:1 ssl=null)
	else
		# One CPU, one thread: emulated CPUs trip over the kernel's patching of its own code.
		# The image is read by machines of both kinds, whose locks do not get along.
		command=(qemu-system-x86_64 -accel tcg,thread=single -cpu max -m "$memory" -nographic -no-reboot -nodefaults
			-serial stdio -kernel "$image/$machine_kind/kernel" -initrd "$work/initrd"
			-drive "file.driver=file,file.filename=$image/root.img,file.locking=off,driver=raw,if=virtio,readonly=on")
	fi
	for disk in "${disks[@]}"; do
		if [ "$kind" = nbd ]; then
			command+=("ubd$number=$work/${disk%=*}.disk")
		else
			command+=(-drive "file=$work/${disk%=*}.disk,format=raw,if=virtio,discard=unmap,cache=writeback,aio=threads")
		fi
		number=$((number + 1))
	done
	if [ "$kind" = nbd ]; then
		command+=(quiet loglevel=4 panic=-1)
	else
		command+=(-append "console=ttyS0 quiet loglevel=4 mitigations=off tsc=unstable panic=-1")
	fi
}

# One boot: 0 when it ended itself or wants to boot again.
machine_boot() {
	local line begun=0 left

	order_write || give_up "the programs for the machine; build first"
	command_make
	: >"$work/console.$boot"
	setsid env TMPDIR="${TMPDIR:-/dev/shm}" "${command[@]}" </dev/null >"$work/console" 2>&1 &
	machine=$!
	exec {console}<"$work/console"
	while :; do
		left=$((deadline - SECONDS))
		((left > 0)) || give_up "nothing came of it in $limit s"
		IFS= read -r -t "$left" line <&"$console" || break
		line=${line%$'\r'}
		printf '%s %s\n' "$(date +%T.%3N)" "$line" >>"$work/console.$boot"
		case $line in
		*"vm: begin") begun=1 ;;
		"vm: keep "*) printf '%s\n' "${line#vm: keep }" >>"$work/kept" ;;
		"vm: power failure") result=again && break ;;
		"vm: exit "*) result=${line#vm: exit } && break ;;
		*) ((!begun)) || printf '%s\n' "$line" ;;
		esac
	done
	exec {console}<&-
	machine_kill
}

memory=${memory:-768}
limit=$((${limit:-600} * ${STEAD_PATIENCE:-1}))
deadline=$((SECONDS + limit))
arguments=("$@")
boot=1 result=again
: >"$work/kept"
for disk in "${disks[@]}"; do
	truncate -s "${disk#*=}" "$work/${disk%=*}.disk" || exit 1
done
while [ "$result" = again ]; do
	result=
	machine_boot
	case $result in
	again) boot=$((boot + 1)) ;;
	'') give_up "the machine ended without a word" ;;
	0 | 77) ;;
	*) echo "the case ended with $result" >&2 ;;
	esac
done
exit "$result"
