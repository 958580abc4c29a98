# TensorRT in the library: the sources, and what they are compiled against. The driver is loaded at run time.

add_library(ast_edge_tensorrt INTERFACE)
target_include_directories(ast_edge_tensorrt SYSTEM INTERFACE
  "${TensorRT_INCLUDE_DIR}" "${CUDA_DRIVER_INCLUDE_DIR}" ${CUDA_EXTRA_INCLUDE_DIRS})
target_link_libraries(ast_edge_tensorrt INTERFACE ${CMAKE_DL_LIBS})
if(NOT TensorRT_COMPILE_ONLY)
  target_link_libraries(ast_edge_tensorrt INTERFACE "${TensorRT_LIBRARY}")
endif()

target_sources(ast_edge_objects PRIVATE
  src/tensorrt/driver.cpp src/tensorrt/engine.cpp src/tensorrt/memory.cpp src/tensorrt/runtime.cpp
  src/tensorrt/slot.cpp)
target_link_libraries(ast_edge_objects PRIVATE ast_edge_tensorrt)
set_source_files_properties(src/tensorrt/engine.cpp PROPERTIES
  COMPILE_DEFINITIONS "AST_EDGE_KERNELS_SHA256=\"${AST_EDGE_KERNELS_SHA256}\"")
