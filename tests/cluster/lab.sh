#!/usr/bin/env bash
# The machines of a cluster, each of them a set of namespaces of this machine. tests/cluster/lab.py starts this as
#
#     unshare --net --mount --pid --uts --ipc --fork --kill-child --mount-proc lab.sh launcher FOLDER VISIBLE...
#
# It becomes the launcher, the machine that `ray up` is called on, and obeys the lines that it reads:
#     start NAME ADDRESS    a host NAME with sshd, reachable at ADDRESS
#     kill NAME             SIGKILL to every process of the host, as if its power were cut
# At the end of its input it exits. It is process 1 of its namespace, so every process, mount and network interface of
# the lab disappears with it, whatever happened to the process that held the other end of the pipe.
#
# FOLDER is mounted at /mnt on each machine: FOLDER/machines/NAME holds what is private to one, FOLDER/shared what an NFS
# server would offer. VISIBLE are folders that each machine sees read-only although its /root, /tmp and /run are its own.
set -euo pipefail

# private NAME VISIBLE...: give this mount namespace its own host name, /root, /tmp, /run and /dev/shm.
private() {
    local name=$1 own=/mnt/machines/$1 folder path
    shift
    hostname "$name"
    mkdir -p "$own"/{root,tmp,run/sshd}
    chmod 1777 "$own/tmp"
    for path in "$@"; do
        mkdir -p "$own$path"
        mount -o bind,ro "$path" "$own$path"
    done
    mount --bind "$own/passwd" /etc/passwd
    mount --bind "$own/shadow" /etc/shadow
    mount -t tmpfs -o size=2g tmpfs /dev/shm
    for folder in /root /tmp /run; do # last, since they cover the folders above
        mount --rbind "$own$folder" "$folder"
    done
}

launcher() {
    local script=/mnt/lab.sh verb name address
    local -A pids
    mount --make-rprivate /
    mount --bind "$1" /mnt
    shift
    private launcher "$@"
    ip link set lo up
    ip link add lab type bridge
    ip address add 10.99.0.254/24 dev lab
    ip link set lab up
    echo ready
    while read -r verb name address; do
        case $verb in
        start)
            ip netns add "$name"
            ip link add "v$name" type veth peer name eth0 netns "$name"
            ip link set "v$name" master lab up
            ip -n "$name" address add "$address/24" dev eth0
            ip -n "$name" link set eth0 up
            ip -n "$name" link set lo up
            ip netns exec "$name" unshare --mount --pid --uts --ipc --fork --kill-child --mount-proc \
                "$script" host "$name" "$@" < /dev/null &> "/mnt/machines/$name/sshd.log" &
            pids[$name]=$!
            ;;
        kill)
            kill -9 "${pids[$name]}"
            { wait "${pids[$name]}" || true; } 2> /dev/null # bash reports that it was killed
            ip netns delete "$name"
            ;;
        esac
        echo "$verb $name"
    done
}

host() {
    local name=$1
    mount --make-rprivate /
    private "$@"
    exec "$(command -v sshd)" -D -e -f "/mnt/machines/$name/sshd_config"
}

PATH=$PATH:/usr/sbin:/sbin
"$@"
