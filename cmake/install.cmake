# Headers, libraries, program, pkg-config and CMake files, man pages, completion.
install(TARGETS mlxn mlxn-lm EXPORT mlxn-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/mlxn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET mlxn_program)
  install(TARGETS mlxn_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
