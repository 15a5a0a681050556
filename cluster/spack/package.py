# A Spack recipe: `spack repo create REPO`, this file as REPO/packages/atrous/package.py, `spack repo add REPO`,
# then `spack install atrous`.
from spack.package import *


class Atrous(CMakePackage):
    """DeepLabV3+ semantic segmentation in C11, for CPUs first: training over MPI, prediction on one machine."""

    license("Apache-2.0")

    # A checkout of the sources: `spack dev-build atrous@main` in its folder.
    version("main", branch="main")

    variant("mpi", default=True, description="Training over several ranks")

    depends_on("c", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi@3:", when="+mpi")
    depends_on("onednn@3: cpu_runtime=omp")
    depends_on("hdf5@1.10:~mpi")
    depends_on("libpng")
    depends_on("libjpeg-turbo")
    depends_on("libzip")
    depends_on("zlib-api")
    depends_on("libyaml")
    depends_on("jansson")
    depends_on("xxhash")
    depends_on("protobuf-c")
    depends_on("gnuplot", type="run")

    generator("ninja")

    def cmake_args(self):
        return [
            self.define_from_variant("ATR_MPI", "mpi"),
            self.define("BUILD_TESTING", False),
            self.define("ATR_BUNDLE_ONEDNN", False),
        ]
