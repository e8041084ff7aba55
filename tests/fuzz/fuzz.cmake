# Fuzzing: fuzz_gguf and fuzz_safetensors with clang's libFuzzer and the address and undefined-behaviour sanitizers; where clang or its
# run-time library is absent, the same entry points with a plain driver. Ten seconds as a test; run the program by hand
# for longer. Sanitizer builds leave it out: it brings its own.
set(MLXN_FUZZ_DIR ${CMAKE_BINARY_DIR}/tests/fuzz)
set(MLXN_FUZZ_SECONDS 10 CACHE STRING "Length of a fuzz run in the tests")

# fuzz_<name> that needs the whole library, kernels too: with the plain driver, in sanitizer builds as well.
function(mlxn_fuzz_whole name)
  set(seeds ${MLXN_FUZZ_DIR}/seeds_${name})
  file(MAKE_DIRECTORY ${seeds})
  foreach(program ${name}_seeds fuzz_${name})
    add_executable(${program} ${CMAKE_SOURCE_DIR}/tests/fuzz/${program}.c)
    target_include_directories(${program} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(${program} PRIVATE mlxn_lm_static)
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${MLXN_FUZZ_DIR})
    add_dependencies(test_programs ${program})
  endforeach()
  target_sources(fuzz_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_driver.c)
  add_test(NAME fuzz.${name}_seeds COMMAND ${name}_seeds ${seeds})
  add_test(NAME fuzz.${name} COMMAND sh -c "exec \"$0\" ${MLXN_FUZZ_SECONDS} *.${name}" $<TARGET_FILE:fuzz_${name}>
           WORKING_DIRECTORY ${seeds})
  set_tests_properties(fuzz.${name}_seeds PROPERTIES FIXTURES_SETUP ${name}_seeds)
  set_tests_properties(fuzz.${name} PROPERTIES FIXTURES_REQUIRED ${name}_seeds)
endfunction()
mlxn_fuzz_whole(state)

if(MLXN_SANITIZE)
  return()
endif()

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

file(GLOB MLXN_FUZZ_HEADERS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/include/mlxn/*.h ${CMAKE_SOURCE_DIR}/src/io/*.h
     ${CMAKE_SOURCE_DIR}/src/base/*.h ${CMAKE_SOURCE_DIR}/src/quant/*.h ${CMAKE_SOURCE_DIR}/tests/io/*.h)
add_custom_target(fuzz_programs ALL)

# fuzz_<name> of tests/fuzz/fuzz_<name>.c and the given sources; its seeds come from <name>_seeds.c.
function(mlxn_fuzz name)
  set(sources ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_${name}.c ${ARGN})
  set(seeds ${MLXN_FUZZ_DIR}/seeds_${name})
  set(found ${MLXN_FUZZ_DIR}/found_${name})
  file(MAKE_DIRECTORY ${seeds} ${found})
  add_executable(${name}_seeds ${CMAKE_SOURCE_DIR}/tests/fuzz/${name}_seeds.c)
  target_include_directories(${name}_seeds PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  set_target_properties(${name}_seeds PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${MLXN_FUZZ_DIR})
  add_test(NAME fuzz.${name}_seeds COMMAND ${name}_seeds ${seeds})
  set_tests_properties(fuzz.${name}_seeds PROPERTIES FIXTURES_SETUP ${name}_seeds)
  add_dependencies(fuzz_programs ${name}_seeds)
  if(MLXN_HAVE_LIBFUZZER)
    add_custom_command(
      OUTPUT ${MLXN_FUZZ_DIR}/fuzz_${name}
      COMMAND ${MLXN_CLANG} ${MLXN_FUZZ_FLAGS} -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}/src
              -I${CMAKE_SOURCE_DIR}/tests ${sources} ${MLXN_FUZZ_LIBRARIES} -lm -lpthread -o ${MLXN_FUZZ_DIR}/fuzz_${name}
      DEPENDS ${sources} ${MLXN_FUZZ_HEADERS}
      COMMENT "Building fuzz_${name} with libFuzzer" VERBATIM)
    add_custom_target(fuzz_${name}_program DEPENDS ${MLXN_FUZZ_DIR}/fuzz_${name})
    add_dependencies(fuzz_programs fuzz_${name}_program)
    add_test(NAME fuzz.${name}
             COMMAND ${MLXN_FUZZ_DIR}/fuzz_${name} -max_total_time=${MLXN_FUZZ_SECONDS} -max_len=20000 -timeout=5
                     -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 -artifact_prefix=${MLXN_FUZZ_DIR}/ ${found}
                     ${seeds})
  else()
    add_executable(fuzz_${name} ${sources} ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_driver.c)
    target_include_directories(fuzz_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(fuzz_${name} PRIVATE mlxn_includes ${MLXN_FUZZ_LIBRARIES} Threads::Threads m)
    set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${MLXN_FUZZ_DIR})
    add_dependencies(fuzz_programs fuzz_${name})
    add_test(NAME fuzz.${name} COMMAND sh -c "exec \"$0\" ${MLXN_FUZZ_SECONDS} *.${name}" $<TARGET_FILE:fuzz_${name}>
             WORKING_DIRECTORY ${seeds})
  endif()
  set_tests_properties(fuzz.${name} PROPERTIES FIXTURES_REQUIRED ${name}_seeds)
endfunction()
if(NOT MLXN_HAVE_LIBFUZZER)
  message(STATUS "clang with libFuzzer not found: fuzz tests use the plain driver")
endif()

# The parsers and what they need; not the files that meet the core.
file(GLOB MLXN_FUZZ_BASE CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/base/*.c)
file(GLOB MLXN_FUZZ_PARSER CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/io/gguf*.c ${CMAKE_SOURCE_DIR}/src/quant/*.c)
list(FILTER MLXN_FUZZ_PARSER EXCLUDE REGEX "gguf_(wrap|load)\\.c$")
mlxn_fuzz(gguf ${MLXN_FUZZ_PARSER} ${MLXN_FUZZ_BASE})
file(GLOB MLXN_FUZZ_PARSER CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/io/safetensors*.c)
list(FILTER MLXN_FUZZ_PARSER EXCLUDE REGEX "safetensors_load\\.c$")
foreach(file json config quant_config gguf_text gguf_index)
  list(APPEND MLXN_FUZZ_PARSER ${CMAKE_SOURCE_DIR}/src/io/${file}.c)
endforeach()
mlxn_fuzz(safetensors ${MLXN_FUZZ_PARSER} ${MLXN_FUZZ_BASE})
# Grammars and schemas: all but the constraints, which need a model.
file(GLOB MLXN_FUZZ_PARSER CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/lm/grammar/*.c)
list(FILTER MLXN_FUZZ_PARSER EXCLUDE REGEX "(constraint|masker|masker_run)\\.c$")
list(APPEND MLXN_FUZZ_PARSER ${CMAKE_SOURCE_DIR}/src/lm/utf8.c)
set(MLXN_FUZZ_LIBRARIES -ljansson)
mlxn_fuzz(grammar ${MLXN_FUZZ_PARSER} ${MLXN_FUZZ_BASE})
mlxn_fuzz(schema ${MLXN_FUZZ_PARSER} ${MLXN_FUZZ_BASE})
set(MLXN_FUZZ_LIBRARIES)
# Tokenizers: the files of the pipeline, and the parsers that they read with.
file(GLOB MLXN_FUZZ_PARSER CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/lm/tok_*.c ${CMAKE_SOURCE_DIR}/src/io/gguf*.c
     ${CMAKE_SOURCE_DIR}/src/quant/*.c)
list(FILTER MLXN_FUZZ_PARSER EXCLUDE REGEX "gguf_(wrap|load)\\.c$")
foreach(file tokenizer bpe pretok normalize charsmap wordpiece unigram utf8)
  list(APPEND MLXN_FUZZ_PARSER ${CMAKE_SOURCE_DIR}/src/lm/${file}.c)
endforeach()
list(APPEND MLXN_FUZZ_PARSER ${CMAKE_SOURCE_DIR}/src/io/json.c ${CMAKE_SOURCE_DIR}/src/io/config.c)
set(MLXN_FUZZ_LIBRARIES -lpcre2-8 -lutf8proc)
mlxn_fuzz(tokenizer_json ${MLXN_FUZZ_PARSER} ${MLXN_FUZZ_BASE})

# Chat templates.
file(GLOB MLXN_FUZZ_PARSER CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/lm/jinja/*.c)
list(APPEND MLXN_FUZZ_PARSER ${CMAKE_SOURCE_DIR}/src/lm/utf8.c)
set(MLXN_FUZZ_LIBRARIES -ljansson -lutf8proc)
mlxn_fuzz(template ${MLXN_FUZZ_PARSER} ${MLXN_FUZZ_BASE})
set(MLXN_FUZZ_LIBRARIES)
