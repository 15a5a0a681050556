# `atrous simulate` foretells steps of two hosts on a network so slow that it decides. A step's own time is a third of it, and
# half of the bytes would be a third less: 30 % tell right from wrong also on a busy machine.
. "$(dirname "$0")/net_simulate_common.sh"

net_up 2 200
measure_network
compare 30 4 f32
