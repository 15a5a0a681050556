-- A module file for Lmod; `prefix` is where `cmake --install build/release --prefix PREFIX` put it.
help([[DeepLabV3+ semantic segmentation for CPUs. Job scripts: $ATROUS_CLUSTER (README.md there).]])
whatis("Name: atrous")
whatis("Description: DeepLabV3+ semantic segmentation, training over MPI")

local prefix = "/opt/atrous"

depends_on("openmpi")
prepend_path("PATH", pathJoin(prefix, "bin"))
prepend_path("LD_LIBRARY_PATH", pathJoin(prefix, "lib"))
prepend_path("PKG_CONFIG_PATH", pathJoin(prefix, "lib/pkgconfig"))
setenv("ATROUS_CLUSTER", pathJoin(prefix, "share/atrous/cluster"))
