# The same with larger pictures, by the lower quartile of the steps instead of the best one: other programs may be in the way of some.
side=384 steps=13 place=3 most=40
. "$(dirname "$0")/net_overlap_test.sh"
