set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # for POSIX and GNU declarations of the system's headers
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON) # a folder finds its own libraries; who links the folder must see them

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

option(ATR_WERROR "Warnings are errors" OFF)
option(ATR_MPI "Build with MPI; without it every run is one rank" ON)
set(ATR_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize=")

add_compile_definitions(_GNU_SOURCE)
# -ffp-contract=off: generated weights and golden numbers need each product rounded; kernels that profit use explicit FMA.
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
                    -Wno-sign-conversion -ffp-contract=off -fno-math-errno)
add_compile_options("$<$<CONFIG:Release>:-O3>")
add_link_options(-Wl,--as-needed) # only what is called: libatrous does without MPI
if(ATR_WERROR)
    add_compile_options(-Werror)
endif()
if(ATR_SANITIZE)
    # Without -fno-sanitize-recover undefined behaviour would print a line and the test would still pass.
    add_compile_options(-fsanitize=${ATR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${ATR_SANITIZE})
endif()

# atr_program(TARGET SOURCES...): an executable.
function(atr_program target)
    add_executable(${target} ${ARGN})
    if(ATR_SANITIZE)
        target_sources(${target} PRIVATE "${PROJECT_SOURCE_DIR}/cmake/keep_loaded.c")
    endif()
endfunction()

# atr_folder(NAME): a static library atr_NAME of all C files below this folder, with the repository's root as include path.
function(atr_folder name)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.c")
    add_library(atr_${name} STATIC ${sources})
    target_include_directories(atr_${name} PUBLIC "${PROJECT_SOURCE_DIR}")
endfunction()

# atr_protobuf(NAME): a static library atr_proto_NAME of the C code that protoc-c makes of proto/NAME.proto. Its header is
# <NAME.pb-c.h>; the code is not ours to keep free of warnings.
function(atr_protobuf name)
    find_program(ATR_PROTOC_C protoc-c REQUIRED)
    find_package(PkgConfig REQUIRED)
    pkg_check_modules(protobuf_c REQUIRED IMPORTED_TARGET GLOBAL libprotobuf-c)
    set(folder "${PROJECT_BINARY_DIR}/proto")
    file(MAKE_DIRECTORY "${folder}")
    add_custom_command(OUTPUT "${folder}/${name}.pb-c.c" "${folder}/${name}.pb-c.h"
                       COMMAND ${ATR_PROTOC_C} "--c_out=${folder}" "--proto_path=${PROJECT_SOURCE_DIR}/proto"
                               "${PROJECT_SOURCE_DIR}/proto/${name}.proto"
                       DEPENDS "${PROJECT_SOURCE_DIR}/proto/${name}.proto" VERBATIM)
    add_library(atr_proto_${name} STATIC "${folder}/${name}.pb-c.c" "${folder}/${name}.pb-c.h")
    target_compile_options(atr_proto_${name} PRIVATE -w)
    target_include_directories(atr_proto_${name} SYSTEM PUBLIC "${folder}")
    target_link_libraries(atr_proto_${name} PUBLIC PkgConfig::protobuf_c)
endfunction()
