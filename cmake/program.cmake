# The program `mlxn` (one file per subcommand, public headers only), the examples, and the benchmark programs: all of
# them use the shared libraries as anybody would.
file(GLOB MLXN_CLI CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cli/*.c)
add_executable(mlxn_program ${MLXN_CLI})
set_target_properties(mlxn_program PROPERTIES OUTPUT_NAME mlxn RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}
                                              INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
target_link_libraries(mlxn_program PRIVATE mlxn-lm mlxn PkgConfig::JANSSON Threads::Threads m)
# The page of `mlxn profile --html` is compiled in.
set(page ${CMAKE_BINARY_DIR}/generated/profile_page.inc)
add_custom_command(OUTPUT ${page} DEPENDS ${CMAKE_SOURCE_DIR}/cli/profile.html ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
                   COMMAND ${CMAKE_COMMAND} -DIN=${CMAKE_SOURCE_DIR}/cli/profile.html -DOUT=${page}
                           -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
target_sources(mlxn_program PRIVATE ${page})
target_include_directories(mlxn_program PRIVATE ${CMAKE_BINARY_DIR}/generated)

file(GLOB MLXN_EXAMPLES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/examples/*.c)
foreach(source ${MLXN_EXAMPLES})
  get_filename_component(name ${source} NAME_WE)
  add_executable(example_${name} ${source})
  set_target_properties(example_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/examples)
  if(name MATCHES "^(session|graph)$")
    target_link_libraries(example_${name} PRIVATE mlxn)
  else()
    target_link_libraries(example_${name} PRIVATE mlxn-lm mlxn)
  endif()
endforeach()

# bench/NAME.c is a program, with what lies in bench/NAME/.
file(GLOB MLXN_BENCH CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.c)
foreach(source ${MLXN_BENCH})
  get_filename_component(name ${source} NAME_WE)
  file(GLOB parts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/${name}/*.c)
  add_executable(bench_${name} ${source} ${parts})
  target_include_directories(bench_${name} PRIVATE ${CMAKE_SOURCE_DIR}/bench)
  set_target_properties(bench_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
  target_link_libraries(bench_${name} PRIVATE mlxn-lm mlxn Threads::Threads m)
endforeach()
