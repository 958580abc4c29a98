# TensorRT 8.5 to 11 and the CUDA driver's interface. TensorRT_ROOT names the folder that holds include/NvInfer.h;
# CUDAToolkit_ROOT the one that holds include/cuda.h. If only the headers are available (to prove that
# the code compiles), TensorRT_COMPILE_ONLY=ON is enough; CUDA_EXTRA_INCLUDE_DIRS names further folders of CUDA's.
#
# Sets TensorRT_FOUND, TensorRT_VERSION, TensorRT_INCLUDE_DIR, TensorRT_LIBRARY and CUDA_DRIVER_INCLUDE_DIR.

find_path(TensorRT_INCLUDE_DIR NvInfer.h PATH_SUFFIXES include
  HINTS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
find_library(TensorRT_LIBRARY NAMES nvinfer PATH_SUFFIXES lib lib64)
find_path(CUDA_DRIVER_INCLUDE_DIR cuda.h PATH_SUFFIXES include targets/${CMAKE_SYSTEM_PROCESSOR}-linux/include
  HINTS ${CUDAToolkit_ROOT} /usr/local/cuda ${AST_EDGE_CUDA_WHEEL})

set(TensorRT_VERSION "")
if(TensorRT_INCLUDE_DIR AND EXISTS "${TensorRT_INCLUDE_DIR}/NvInferVersion.h")
  file(STRINGS "${TensorRT_INCLUDE_DIR}/NvInferVersion.h" lines REGEX "#define (NV_TENSORRT|TRT)_(MAJOR|MINOR|PATCH)_?[A-Z]* [0-9]+")
  foreach(part MAJOR MINOR PATCH)
    if("${lines}" MATCHES "_${part}(_ENTERPRISE)? ([0-9]+)")
      list(APPEND TensorRT_VERSION "${CMAKE_MATCH_2}")
    endif()
  endforeach()
  string(REPLACE ";" "." TensorRT_VERSION "${TensorRT_VERSION}")
endif()

set(needed TensorRT_INCLUDE_DIR CUDA_DRIVER_INCLUDE_DIR)
if(NOT TensorRT_COMPILE_ONLY)
  list(APPEND needed TensorRT_LIBRARY)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT REQUIRED_VARS ${needed} VERSION_VAR TensorRT_VERSION)
