# `find_package(ast_edge)` after `cmake --install`.

install(TARGETS ast_edge EXPORT ast_edgeTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY include/ast_edge DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

set(AST_EDGE_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/ast_edge")
install(EXPORT ast_edgeTargets NAMESPACE ast_edge:: DESTINATION "${AST_EDGE_CMAKE_DIR}")
configure_package_config_file(cmake/ast_edgeConfig.cmake.in "${PROJECT_BINARY_DIR}/ast_edgeConfig.cmake"
  INSTALL_DESTINATION "${AST_EDGE_CMAKE_DIR}")
# The C face only grows, within one minor version as long as the major one is 0.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/ast_edgeConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/ast_edgeConfig.cmake" "${PROJECT_BINARY_DIR}/ast_edgeConfigVersion.cmake"
  DESTINATION "${AST_EDGE_CMAKE_DIR}")
