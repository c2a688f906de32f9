#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The primary's own files are restored to what they were at an orderly stop; its
# volume is not, and was written to since. The volume is refused as one that is
# not what the files know; accepted, nothing is believed of what the files say
# has changed: everything is compared. Where the standby knows of a run since
# then, that is told and refused.
. "$(dirname "$0")/lib.sh"
requires jq cmp qemu-io tar

state=$work/a/var/lib/stead/pairs

files_keep() {
	daemon_stop a agent
	tar --sparse -C "$work/a/var/lib/stead" -cf "$work/files.tar" pairs
	agent_start a
}

files_restore() {
	rm -rf "$state"
	tar -C "$work/a/var/lib/stead" -xf "$work/files.tar"
}

# A volume that holds more than the files know of.
accept() {
	wait_for 60 "the volume to be refused" status_is a .reason volume-changed
	order a volume accept db data
}

knows_of_later_epochs() {
	status_is a '.state == "refused"' true && status_is b '.reason == "peer-rolled-back"' true
}

apart_pair 64M data
change a data 'write -P 1 0 4m'
wait_in_step

say "written to without the standby"
daemon_stop a agent
tar --sparse -C "$work/a/var/lib/stead" -cf "$work/files.tar" pairs
cut_off
config_set a start-without-peer yes
agent_start a
change a data 'write -P 2 1m 1m' 'write -P 3 33m 64k'
daemon_stop a agent
files_restore
reunite
agent_start a
accept
wait_in_step
same_images data

say "a run that the standby knows of"
files_keep
wait_in_step
daemon_stop a agent
agent_start a
wait_in_step
change a data 'write -P 4 8m 1m'
daemon_stop a agent
files_restore
agent_start a
accept
wait_for 60 "the standby's epochs to be unknown here" knows_of_later_epochs
order b resync db --discard-local
wait_in_step
same_images data
nodes_stop a b
