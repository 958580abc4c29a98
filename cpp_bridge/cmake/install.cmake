# `find_package(ast_edge)` after `cmake --install`.

install(TARGETS ast_edge EXPORT ast_edgeTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")

# A wheel of OpenVINO lies in a Python environment, which may be removed or renewed: its libraries are installed, too,
# without the readers of formats that are never opened. An OpenVINO of the system stays where it is.
if(OpenVINO_FOUND)
  get_target_property(openvino openvino::runtime::c LOCATION)
  cmake_path(GET openvino PARENT_PATH openvino)
  if(openvino MATCHES "/(site|dist)-packages/")
    file(GLOB openvino_files CONFIGURE_DEPENDS "${openvino}/*.so" "${openvino}/*.so.*" "${openvino}/cache.json")
    list(FILTER openvino_files EXCLUDE REGEX "_(gguf|jax|paddle|pytorch|tensorflow|tensorflow_lite)_frontend")
    install(FILES ${openvino_files} DESTINATION "${CMAKE_INSTALL_LIBDIR}/ast_edge")
    set(paths "$ORIGIN/ast_edge")
    if(TensorRT_FOUND AND NOT TensorRT_COMPILE_ONLY)
      cmake_path(GET TensorRT_LIBRARY PARENT_PATH tensorrt)
      list(APPEND paths "${tensorrt}")
    endif()
    set_target_properties(ast_edge PROPERTIES INSTALL_RPATH_USE_LINK_PATH OFF INSTALL_RPATH "${paths}")
  endif()
endif()

install(DIRECTORY include/ast_edge DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

set(AST_EDGE_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/ast_edge")
install(EXPORT ast_edgeTargets NAMESPACE ast_edge:: DESTINATION "${AST_EDGE_CMAKE_DIR}")
configure_package_config_file(cmake/ast_edgeConfig.cmake.in "${PROJECT_BINARY_DIR}/ast_edgeConfig.cmake"
  INSTALL_DESTINATION "${AST_EDGE_CMAKE_DIR}")
# The C face only grows, within one minor version as long as the major one is 0.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/ast_edgeConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/ast_edgeConfig.cmake" "${PROJECT_BINARY_DIR}/ast_edgeConfigVersion.cmake"
  DESTINATION "${AST_EDGE_CMAKE_DIR}")
