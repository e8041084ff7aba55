# Fuzzing: fuzz_gguf with clang's libFuzzer and the address and undefined-behaviour sanitizers; where clang or its
# run-time library is absent, the same entry point with a plain driver. Ten seconds as a test; run the program by hand
# for longer. Sanitizer builds leave it out: it brings its own.
if(MLXN_SANITIZE)
  return()
endif()
set(MLXN_FUZZ_DIR ${CMAKE_BINARY_DIR}/tests/fuzz)
set(MLXN_FUZZ_SECONDS 10 CACHE STRING "Length of a fuzz run in the tests")
file(MAKE_DIRECTORY ${MLXN_FUZZ_DIR}/seeds ${MLXN_FUZZ_DIR}/found)

find_program(MLXN_CLANG NAMES clang clang-19 clang-18 clang-17 clang-16 clang-15 clang-14)
set(MLXN_FUZZ_FLAGS -std=gnu11 -O1 -g -ffp-contract=off -fsanitize=fuzzer,address,undefined
                    -fno-sanitize-recover=undefined)
if(MLXN_CLANG AND NOT DEFINED MLXN_HAVE_LIBFUZZER)
  file(WRITE ${MLXN_FUZZ_DIR}/probe.c
       "int LLVMFuzzerTestOneInput(const unsigned char *p, unsigned long n) { return p && n > 9 ? 0 : 0; }\n")
  execute_process(COMMAND ${MLXN_CLANG} ${MLXN_FUZZ_FLAGS} ${MLXN_FUZZ_DIR}/probe.c -o ${MLXN_FUZZ_DIR}/probe
                  RESULT_VARIABLE probe_result OUTPUT_QUIET ERROR_QUIET)
  if(probe_result EQUAL 0)
    set(MLXN_HAVE_LIBFUZZER TRUE CACHE INTERNAL "clang can link libFuzzer")
  else()
    set(MLXN_HAVE_LIBFUZZER FALSE CACHE INTERNAL "clang can link libFuzzer")
  endif()
endif()

add_executable(gguf_seeds ${CMAKE_SOURCE_DIR}/tests/fuzz/gguf_seeds.c)
target_include_directories(gguf_seeds PRIVATE ${CMAKE_SOURCE_DIR}/tests)
set_target_properties(gguf_seeds PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${MLXN_FUZZ_DIR})

# The parser and what it needs; not the one file that meets the core.
file(GLOB MLXN_FUZZ_PARSER CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/io/gguf*.c ${CMAKE_SOURCE_DIR}/src/quant/*.c
     ${CMAKE_SOURCE_DIR}/src/base/*.c)
list(FILTER MLXN_FUZZ_PARSER EXCLUDE REGEX "gguf_wrap\\.c$")
set(sources ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_gguf.c ${MLXN_FUZZ_PARSER})
add_test(NAME fuzz.gguf_seeds COMMAND gguf_seeds ${MLXN_FUZZ_DIR}/seeds)
set_tests_properties(fuzz.gguf_seeds PROPERTIES FIXTURES_SETUP gguf_seeds)

if(MLXN_HAVE_LIBFUZZER)
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/include/mlxn/*.h ${CMAKE_SOURCE_DIR}/src/io/*.h
       ${CMAKE_SOURCE_DIR}/src/base/*.h ${CMAKE_SOURCE_DIR}/src/quant/*.h ${CMAKE_SOURCE_DIR}/tests/io/*.h)
  add_custom_command(
    OUTPUT ${MLXN_FUZZ_DIR}/fuzz_gguf
    COMMAND ${MLXN_CLANG} ${MLXN_FUZZ_FLAGS} -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}/src
            -I${CMAKE_SOURCE_DIR}/tests ${sources} -lm -lpthread -o ${MLXN_FUZZ_DIR}/fuzz_gguf
    DEPENDS ${sources} ${headers}
    COMMENT "Building fuzz_gguf with libFuzzer" VERBATIM)
  add_custom_target(fuzz_programs ALL DEPENDS ${MLXN_FUZZ_DIR}/fuzz_gguf)
  add_dependencies(fuzz_programs gguf_seeds)
  add_test(NAME fuzz.gguf
           COMMAND ${MLXN_FUZZ_DIR}/fuzz_gguf -max_total_time=${MLXN_FUZZ_SECONDS} -max_len=20000 -timeout=5
                   -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 -artifact_prefix=${MLXN_FUZZ_DIR}/
                   ${MLXN_FUZZ_DIR}/found ${MLXN_FUZZ_DIR}/seeds)
else()
  message(STATUS "clang with libFuzzer not found: fuzz tests use the plain driver")
  add_executable(fuzz_gguf ${sources} ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_driver.c)
  target_include_directories(fuzz_gguf PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(fuzz_gguf PRIVATE mlxn_includes Threads::Threads m)
  set_target_properties(fuzz_gguf PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${MLXN_FUZZ_DIR})
  add_custom_target(fuzz_programs ALL DEPENDS fuzz_gguf gguf_seeds)
  add_test(NAME fuzz.gguf COMMAND sh -c "exec \"$0\" ${MLXN_FUZZ_SECONDS} seeds/*.gguf" $<TARGET_FILE:fuzz_gguf>
           WORKING_DIRECTORY ${MLXN_FUZZ_DIR})
endif()
set_tests_properties(fuzz.gguf PROPERTIES FIXTURES_REQUIRED gguf_seeds)
