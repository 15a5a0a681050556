# Ranks as separate hosts on one machine: each host is a network namespace with a name of its own (UTS namespace) and a share of the
# cores; virtual cables (veth) join all to a switch (a bridge) and are shaped to a speed in both directions (tc tbf). Open MPI
# takes them for a cluster: it starts its daemon on the other hosts and sends by TCP. Sourced by tests, after train_common.sh where
# both are wanted. POSIX shell; root and Debian's iproute2 are needed, else the test skips.
#
#     net_up 2 1000                   two hosts, node1 and node2, 1000 Mbit/s; again with another speed: a new net
#     net_run 1 program ...           1 rank a host
#     net_on 2 program ...            not MPI: runs the program on node2
#
# All ends with the script. A namespace whose script was killed goes when the next script starts.
PATH=$PATH:/usr/sbin:/sbin
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

[ -n "${folder-}" ] || folder=$(mktemp -d "${TMPDIR:-/tmp}/atrous-net.XXXXXX")
net_name=atr-net-$$ # of our namespaces: this, "-" and the host's number or "switch"
net_hosts=0

net_skip() {
    echo "skipped: $*"
    exit 77
}

# net_remove NAMESPACE: with the processes that still run in it.
net_remove() {
    ip netns pids "$1" 2>/dev/null | while read -r pid; do kill -KILL "$pid" 2>/dev/null; done
    ip netns del "$1" 2>/dev/null
}

net_down() {
    ip netns list 2>/dev/null | while read -r name _; do
        case $name in
        "$net_name"-*) net_remove "$name" ;;
        atr-net-*)
            owner=${name#atr-net-}
            kill -0 "${owner%-*}" 2>/dev/null || net_remove "$name"
            ;;
        esac
    done
    net_hosts=0
}
trap 'net_down; rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM

for net_tool in ip tc unshare taskset mpirun; do
    command -v $net_tool >/dev/null || net_skip "there is no $net_tool (./run network installs iproute2)"
done
net_down
if ! { ip netns add "$net_name-1" && ip -n "$net_name-1" link add cable type veth peer name other &&
    tc -n "$net_name-1" qdisc add dev cable root tbf rate 1gbit burst 128kb latency 50ms &&
    ip -n "$net_name-1" link add switch type bridge && unshare -u true; } >/dev/null 2>&1; then
    net_skip "this machine allows no network namespaces, or none with a bridge and tc tbf"
fi
net_down

# net_cores HOST: its share of the cores this script may use, as for taskset; one core for several hosts where there are fewer.
net_cores() {
    taskset -cp $$ | sed 's/.*: //' | awk -F, -v host="$1" -v hosts="$net_hosts" '{
        for (i = 1; i <= NF; i++) {
            last = split($i, ends, "-")
            for (core = ends[1]; core <= ends[last]; core++) cores[count++] = core + 0
        }
        first = int((host - 1) * count / hosts)
        text = cores[first]
        for (i = first + 1; i < int(host * count / hosts); i++) text = text "," cores[i]
        print text
    }'
}

# net_on HOST PROGRAM ARGS...
net_on() {
    net_host=$1
    shift
    ip netns exec "$net_name-$net_host" taskset -c "$(net_cores "$net_host")" \
        unshare -u sh -c 'hostname "$1" 2>/dev/null || echo "$1" >/proc/sys/kernel/hostname; shift; exec "$@"' sh "node$net_host" "$@"
}

# net_shape NAMESPACE DEVICE MBIT: what leaves by the device. The burst is 1 ms of the speed, so that small messages pay too, and at
# least what the kernel hands down in one piece. The queue is that of a switch: 10 ms.
net_shape() {
    net_burst=$(($3 * 125))
    [ $net_burst -ge 131072 ] || net_burst=131072
    tc -n "$1" qdisc add dev "$2" root tbf rate "$3mbit" burst ${net_burst}b latency 10ms
}

# net_join HOST MBIT
net_join() {
    net_space=$net_name-$1
    ip netns add "$net_space" &&
        ip -n "$net_space" link add cable type veth peer name "port$1" netns "$net_name-switch" &&
        ip -n "$net_space" addr add "10.77.0.$1/24" dev cable &&
        ip -n "$net_space" link set lo up &&
        ip -n "$net_space" link set cable up &&
        ip -n "$net_name-switch" link set "port$1" master switch up &&
        net_shape "$net_space" cable "$2" && net_shape "$net_name-switch" "port$1" "$2"
}

# The agent that Open MPI starts its daemons with, as it would ssh: HOST COMMAND...
net_write_agent() {
    net_agent=$folder/net_agent
    {
        echo "#!/bin/sh"
        echo 'case $1 in'
        net_host=0
        while [ $((net_host += 1)) -le "$net_hosts" ]; do
            echo "node$net_host) space=$net_name-$net_host cores=$(net_cores "$net_host") ;;"
        done
        echo 'esac'
        echo 'host=$1; shift'
        echo 'exec ip netns exec "$space" taskset -c "$cores" unshare -u sh -c "echo $host >/proc/sys/kernel/hostname; $*"'
    } >"$net_agent"
    chmod +x "$net_agent"
}

# net_up HOSTS MBIT: the speed of each cable and direction, in Mbit/s.
net_up() {
    net_down
    net_hosts=$1
    ip netns add "$net_name-switch" && ip -n "$net_name-switch" link add switch type bridge &&
        ip -n "$net_name-switch" link set switch up || { echo "FAILED: no switch" >&2 && exit 1; }
    net_list=
    net_host=0
    while [ $((net_host += 1)) -le "$net_hosts" ]; do
        net_join "$net_host" "$2" || { echo "FAILED: no host $net_host at $2 Mbit/s" >&2 && exit 1; }
        net_list=$net_list${net_list:+,}node$net_host
    done
    net_write_agent
}

# net_run RANKS_PER_HOST PROGRAM ARGS...: mpirun on node1 starts ranks on all hosts, one thread each, unbound: the host's cores are
# its share already. $net_mpi: further arguments of mpirun.
net_run() {
    net_ranks=$1
    shift
    # shellcheck disable=SC2086
    net_on 1 env OMP_NUM_THREADS=1 mpirun --mca plm_rsh_agent "$net_agent" --mca btl self,vader,tcp --mca pml ob1 \
        --mca btl_tcp_if_include cable --mca oob_tcp_if_include cable --mca coll_hcoll_enable 0 --bind-to none \
        --host "$(echo "$net_list" | sed "s/,/:$net_ranks,/g"):$net_ranks" -n $((net_ranks * net_hosts)) ${net_mpi-} "$@"
}
