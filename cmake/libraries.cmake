# libmlxn: base, quant, ops, core, backends. libmlxn-lm: io, lm. One object library per directory.
mlxn_objects(o_base src/base/*.c)
mlxn_objects(o_quant src/quant/*.c)
mlxn_objects(o_ops src/ops/*.c)
mlxn_objects(o_core src/core/*.c)
mlxn_objects(o_backend src/backends.c src/backend/null/*.c src/backend/cpu/*.c
             src/backend/fault/*.c)
set(MLXN_CORE_OBJECTS o_base o_quant o_ops o_core o_backend)

# Kernels of the CPU backend: every file under kernels/ is compiled once per instruction-set level; files named
# matmul* also once with VNNI. The level is chosen at run time.
file(GLOB MLXN_CPU_KERNELS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/backend/cpu/kernels/*.c)
set(MLXN_CPU_MATMUL ${MLXN_CPU_KERNELS})
list(FILTER MLXN_CPU_MATMUL INCLUDE REGEX "/matmul[^/]*\\.c$")
function(mlxn_cpu_level name level sources)
  add_library(${name} OBJECT ${sources})
  target_link_libraries(${name} PRIVATE mlxn_includes)
  target_compile_definitions(${name} PRIVATE CPU_ISA_LEVEL=${level})
  target_compile_options(${name} PRIVATE ${ARGN})
  # Inlined vector code takes minutes to compile with every check of the undefined-behaviour sanitizer: the base level
  # keeps those of arithmetic (what is wrong there is wrong in every level), all levels keep the address sanitizer.
  if(MLXN_SANITIZE MATCHES "undefined")
    if(level EQUAL 0)
      target_compile_options(${name} PRIVATE -O1 -fno-sanitize=alignment,bounds,object-size,null)
    else()
      target_compile_options(${name} PRIVATE -fno-sanitize=undefined)
    endif()
  endif()
endfunction()
if(MLXN_CPU_KERNELS)
  mlxn_cpu_level(o_cpu_base 0 "${MLXN_CPU_KERNELS}")
  list(APPEND MLXN_CORE_OBJECTS o_cpu_base)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64|AMD64")
    set(avx2 -mavx2 -mfma -mf16c -mbmi2 -mtune=haswell)
    set(avx512 -mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512
        -mtune=icelake-server)
    mlxn_cpu_level(o_cpu_avx2 1 "${MLXN_CPU_KERNELS}" ${avx2})
    mlxn_cpu_level(o_cpu_avx512 2 "${MLXN_CPU_KERNELS}" ${avx512})
    list(APPEND MLXN_CORE_OBJECTS o_cpu_avx2 o_cpu_avx512)
    if(MLXN_CPU_MATMUL)
      mlxn_cpu_level(o_cpu_vnni 3 "${MLXN_CPU_MATMUL}" ${avx512} -mavx512vnni)
      list(APPEND MLXN_CORE_OBJECTS o_cpu_vnni)
    endif()
  endif()
endif()

set(MLXN_CORE_FILES)
foreach(object ${MLXN_CORE_OBJECTS})
  list(APPEND MLXN_CORE_FILES $<TARGET_OBJECTS:${object}>)
endforeach()

# The shared library that is installed, and a static one with the internals visible for the tests.
add_library(mlxn SHARED ${MLXN_CORE_FILES})
target_include_directories(mlxn PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>
                                       $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(mlxn PRIVATE Threads::Threads m ${CMAKE_DL_LIBS})
set_target_properties(mlxn PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 0)
add_library(mlxn_static STATIC ${MLXN_CORE_FILES})
target_link_libraries(mlxn_static PUBLIC mlxn_includes Threads::Threads m ${CMAKE_DL_LIBS})

pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
mlxn_objects(o_io src/io/*.c)
mlxn_objects(o_lm src/lm/*.c src/lm/arch/*.c)
foreach(object o_io o_lm)
  target_link_libraries(${object} PRIVATE PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::UTF8PROC)
endforeach()
# base is in both libraries, but only libmlxn exports its public functions.
add_library(mlxn_base STATIC $<TARGET_OBJECTS:o_base>)
add_library(mlxn-lm SHARED $<TARGET_OBJECTS:o_io> $<TARGET_OBJECTS:o_lm>)
target_link_libraries(mlxn-lm PUBLIC mlxn PRIVATE mlxn_base PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::UTF8PROC
                                                   Threads::Threads m)
if(NOT APPLE)
  target_link_options(mlxn-lm PRIVATE -Wl,--exclude-libs,libmlxn_base.a)
endif()
set_target_properties(mlxn-lm PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 0)
add_library(mlxn_lm_static STATIC $<TARGET_OBJECTS:o_io> $<TARGET_OBJECTS:o_lm>)
target_link_libraries(mlxn_lm_static PUBLIC mlxn_static PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::UTF8PROC)
