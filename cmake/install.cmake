# What `cmake --install` gives: the program, libatrous with its header and pkg-config file, licences, recipes, and oneDNN
# beside libatrous where the system has none. The installed tree may be moved: every path in it is relative.

get_target_property(onednn_library DNNL::dnnl LOCATION)
if(onednn_library MATCHES "^/(usr/)?lib/")
    set(bundle_default OFF)
else()
    set(bundle_default ON)
endif()
option(ATR_BUNDLE_ONEDNN "Install oneDNN beside libatrous" ${bundle_default})

file(RELATIVE_PATH bin_to_lib "/${CMAKE_INSTALL_BINDIR}" "/${CMAKE_INSTALL_LIBDIR}")
file(RELATIVE_PATH pc_to_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")

if(ATR_BUNDLE_ONEDNN)
    set_target_properties(atrous PROPERTIES INSTALL_RPATH "$ORIGIN/${bin_to_lib}")
    set_target_properties(atrous_lib PROPERTIES INSTALL_RPATH "$ORIGIN")
    # Only the file that carries the loader's name (libdnnl.so.3), whatever the links to it are called.
    get_filename_component(onednn_folder "${onednn_library}" DIRECTORY)
    get_filename_component(onednn_real "${onednn_library}" REALPATH)
    install(FILES "${onednn_real}" DESTINATION "${CMAKE_INSTALL_LIBDIR}" RENAME libdnnl.so.3)
    file(GLOB onednn_licences "${onednn_folder}/../share/doc/onednn/*")
    install(FILES ${onednn_licences} DESTINATION "${CMAKE_INSTALL_DOCDIR}/onednn" OPTIONAL)
endif()

configure_file(cmake/atrous.pc.in atrous.pc @ONLY)
install(TARGETS atrous RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(TARGETS atrous_lib LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY apps/include/atrous DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(FILES "${PROJECT_BINARY_DIR}/atrous.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
install(FILES LICENSE docs/dependencies.md DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(DIRECTORY recipes DESTINATION "${CMAKE_INSTALL_DATADIR}/atrous" FILES_MATCHING PATTERN "*.yaml")
install(DIRECTORY cluster DESTINATION "${CMAKE_INSTALL_DATADIR}/atrous" USE_SOURCE_PERMISSIONS)
