# The library: objects that tests and fuzz targets link too, and the shared library of them.

find_package(nlohmann_json 3.9 REQUIRED)
find_package(Threads REQUIRED)
find_package(ZLIB QUIET)  # only for reference vectors that ast-edge 0.1 wrote

set(AST_EDGE_KERNELS "${PROJECT_SOURCE_DIR}/../ast_edge/cuda/preprocess.cu")
# As ast_edge/cuda/compile.py takes it: of the sources and of the options that `ast-edge build-engine` compiles them with.
set(kernels "")
foreach(name preprocess.cu common.cuh depth.cuh image.cuh pixels.cuh)
  cmake_path(REPLACE_FILENAME AST_EDGE_KERNELS "${name}" OUTPUT_VARIABLE source)
  set_property(DIRECTORY "${PROJECT_SOURCE_DIR}" APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
  file(READ "${source}" content)
  string(APPEND kernels "${content}")
endforeach()
string(SHA256 kernels_sha256 "${kernels}-cubin -O3 -fmad=false -std=c++14")
set(AST_EDGE_KERNELS_SHA256 "${kernels_sha256}" CACHE INTERNAL "Which kernels the library runs on a GPU")

add_library(ast_edge_objects OBJECT
  src/api.cpp src/cpu_engine.cpp src/engine_file.cpp src/file.cpp src/handles.cpp src/host_kernels.cpp
  src/json.cpp
  src/manifest.cpp src/model.cpp src/model_file.cpp src/numbers.cpp src/outside.cpp src/part.cpp src/plan.cpp src/preparer.cpp
  src/references.cpp src/safetensors.cpp src/sha256.cpp src/tables.cpp src/verdict.cpp src/wire.cpp src/worker.cpp)
set(definitions "AST_EDGE_KERNEL_SOURCE=\"${AST_EDGE_KERNELS}\"")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT AST_EDGE_SANITIZE)
  list(APPEND definitions AST_EDGE_CLONES)
endif()
if(NOT AST_EDGE_SANITIZE)
  set(optimised -O3)  # frames are prepared by these loops, in debug builds too
endif()
set_source_files_properties(src/host_kernels.cpp PROPERTIES
  COMPILE_DEFINITIONS "${definitions}" COMPILE_OPTIONS "${optimised}")

if(ZLIB_FOUND)
  target_sources(ast_edge_objects PRIVATE src/npz.cpp)
  target_link_libraries(ast_edge_objects PRIVATE ZLIB::ZLIB)
else()
  target_sources(ast_edge_objects PRIVATE src/npz_absent.cpp)
endif()
if(OpenVINO_FOUND)
  target_sources(ast_edge_objects PRIVATE src/openvino_network.cpp)
  target_link_libraries(ast_edge_objects PRIVATE openvino::runtime::c)
else()
  target_sources(ast_edge_objects PRIVATE src/no_network.cpp)
endif()
if(TensorRT_FOUND)
  include("${CMAKE_CURRENT_LIST_DIR}/tensorrt.cmake")
else()
  target_sources(ast_edge_objects PRIVATE src/tensorrt/absent.cpp)
endif()

function(ast_edge_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_17)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wshadow=local>)
  if(AST_EDGE_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(AST_EDGE_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${AST_EDGE_SANITIZE} -fno-sanitize-recover=all -g
      -fno-omit-frame-pointer)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # GCC's sanitizer instrumentation triggers this warning, for example in std::regex.
      target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
    endif()
    target_link_options(${target} PRIVATE -fsanitize=${AST_EDGE_SANITIZE})
  endif()
endfunction()

ast_edge_compile_options(ast_edge_objects)
set_target_properties(ast_edge_objects PROPERTIES
  POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
target_compile_definitions(ast_edge_objects PRIVATE AST_EDGE_BUILDING)
# Rounded after every operation, as NumPy and the GPU do: the decisions of depth maps rest on it.
target_compile_options(ast_edge_objects PRIVATE -ffp-contract=off)
target_include_directories(ast_edge_objects PUBLIC
  "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>")
target_link_libraries(ast_edge_objects PRIVATE nlohmann_json::nlohmann_json Threads::Threads)

# What the objects need at link time; private to the shared library.
set(AST_EDGE_LIBRARIES Threads::Threads)
if(ZLIB_FOUND)
  list(APPEND AST_EDGE_LIBRARIES ZLIB::ZLIB)
endif()
if(OpenVINO_FOUND)
  list(APPEND AST_EDGE_LIBRARIES openvino::runtime::c)
endif()
if(TensorRT_FOUND)
  list(APPEND AST_EDGE_LIBRARIES ast_edge_tensorrt)
endif()

add_library(ast_edge SHARED $<TARGET_OBJECTS:ast_edge_objects>)
add_library(ast_edge::ast_edge ALIAS ast_edge)
ast_edge_compile_options(ast_edge)
set_target_properties(ast_edge PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
  LINK_DEPENDS "${CMAKE_CURRENT_LIST_DIR}/exports.map" INSTALL_RPATH_USE_LINK_PATH ON)
target_include_directories(ast_edge PUBLIC
  "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
target_link_libraries(ast_edge PRIVATE ${AST_EDGE_LIBRARIES})
target_link_options(ast_edge PRIVATE "-Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/exports.map")
