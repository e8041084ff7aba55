# The CUDA backend. Its host code is always part of the library and needs no toolkit; the kernels need nvcc.
# MLXN_CUDA: AUTO compiles them where nvcc is found, ON wants it, OFF leaves them out (`mlxn devices` then says so).
set(MLXN_CUDA "AUTO" CACHE STRING "kernels for NVIDIA GPUs: AUTO (where nvcc is found), ON or OFF")
set_property(CACHE MLXN_CUDA PROPERTY STRINGS AUTO ON OFF)
if(NOT MLXN_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "MLXN_CUDA is \"${MLXN_CUDA}\", want AUTO, ON or OFF")
endif()
if(NOT MLXN_CUDA STREQUAL "OFF")
  find_program(MLXN_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
endif()
if(MLXN_CUDA STREQUAL "ON" AND NOT MLXN_NVCC)
  message(FATAL_ERROR "MLXN_CUDA is ON, but nvcc was not found: put it into PATH or set CUDA_HOME")
endif()
if(MLXN_NVCC AND NOT MLXN_CUDA STREQUAL "OFF" AND CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(fatbin ${CMAKE_BINARY_DIR}/cuda/kernels.fatbin)
  file(GLOB cuda_shared CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/*.h
       ${CMAKE_SOURCE_DIR}/src/backend/cuda/kernels/*.h ${CMAKE_SOURCE_DIR}/src/backend/cuda/kernels/*.cuh)
  file(GLOB cuda_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/backend/cuda/kernels/*.cu)
  set(kernel ${CMAKE_SOURCE_DIR}/src/backend/cuda/kernels.cu) # includes all of them
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/cuda)
  # No contraction of products and sums: kernels that want it say so, as on the CPU.
  add_custom_command(
    OUTPUT ${fatbin}
    COMMAND ${MLXN_NVCC} -fatbin -std=c++17 -O3 -fmad=false -I${CMAKE_SOURCE_DIR}/src
            -I${CMAKE_SOURCE_DIR}/include
            -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a
            -gencode arch=compute_80,code=compute_80 ${kernel} -o ${fatbin}
    DEPENDS ${kernel} ${cuda_files} ${cuda_shared} ${CMAKE_SOURCE_DIR}/include/mlxn/op_params.h
    COMMENT "Compiling the CUDA kernels" VERBATIM)
  set_source_files_properties(src/backend/cuda/fatbin.c PROPERTIES OBJECT_DEPENDS ${fatbin}
                              COMPILE_DEFINITIONS "MLXN_CUDA_FATBIN=\"${fatbin}\"")
endif()
