# What `cmake --install` puts in place: headers, libraries, program, pkg-config files, CMake package, manual page,
# completion of bash. Every path is relative, so the tree may be moved.
include(CMakePackageConfigHelpers)

install(TARGETS mlxn mlxn-lm EXPORT mlxn-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
set_target_properties(mlxn-lm PROPERTIES INSTALL_RPATH "$ORIGIN")
install(DIRECTORY include/mlxn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS mlxn_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES man/mlxn.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES tools/completion.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME mlxn)
install(FILES LICENSE-MIT LICENSE-APACHE DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/mlxn)

# find_package(mlxn) gives mlxn::mlxn and mlxn::mlxn-lm.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mlxn)
install(EXPORT mlxn-targets NAMESPACE mlxn:: DESTINATION ${package_dir})
configure_package_config_file(cmake/mlxn-config.cmake.in ${CMAKE_BINARY_DIR}/mlxn-config.cmake
                              INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/mlxn-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/mlxn-config.cmake ${CMAKE_BINARY_DIR}/mlxn-config-version.cmake
        DESTINATION ${package_dir})

# pkg-config: the prefix is found from where the .pc file lies.
file(RELATIVE_PATH pc_up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" pc_up "${pc_up}")
foreach(name mlxn mlxn-lm)
  configure_file(cmake/${name}.pc.in ${CMAKE_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
