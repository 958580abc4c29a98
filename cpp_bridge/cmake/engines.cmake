# Finds what runs networks: OpenVINO for the CPU, TensorRT for NVIDIA GPUs. Sets OpenVINO_FOUND and TensorRT_FOUND.

if(NOT AST_EDGE_WITHOUT_ENGINE)
  find_package(OpenVINO QUIET COMPONENTS Runtime)
  # Wheels from PyPI carry headers and CMake package: look where the Python of this shell or of `make` has them.
  find_program(AST_EDGE_PYTHON NAMES python3 python HINTS "${PROJECT_SOURCE_DIR}/../.venv/bin")
  if(NOT OpenVINO_FOUND AND NOT CMAKE_CROSSCOMPILING)
    if(AST_EDGE_PYTHON)
      execute_process(
        COMMAND "${AST_EDGE_PYTHON}" -c
                "import importlib.util as u; s = u.find_spec('openvino'); print(s.submodule_search_locations[0] if s else '')"
        OUTPUT_VARIABLE AST_EDGE_OPENVINO_WHEEL
        OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
    if(AST_EDGE_OPENVINO_WHEEL)
      find_package(OpenVINO QUIET COMPONENTS Runtime PATHS "${AST_EDGE_OPENVINO_WHEEL}/cmake" NO_DEFAULT_PATH)
    endif()
  endif()
  if(AST_EDGE_PYTHON)
    execute_process(
      COMMAND "${AST_EDGE_PYTHON}" -c
              "import importlib.util as u; s = u.find_spec('nvidia.cuda_runtime'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE AST_EDGE_CUDA_WHEEL
      OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  list(APPEND CMAKE_MODULE_PATH "${CMAKE_CURRENT_LIST_DIR}")
  find_package(TensorRT QUIET)
endif()

if(NOT OpenVINO_FOUND AND NOT TensorRT_FOUND AND NOT AST_EDGE_WITHOUT_ENGINE)
  message(FATAL_ERROR
    "ast_edge finds neither OpenVINO nor TensorRT. For the CPU run `pip install openvino` and configure again with "
    "that Python on the PATH (or -DOpenVINO_DIR=.../openvino/cmake); for an NVIDIA GPU give -DTensorRT_ROOT=... "
    "(and -DCUDAToolkit_ROOT=...). -DAST_EDGE_WITHOUT_ENGINE=ON builds a library that opens nothing.")
endif()
message(STATUS "ast_edge: OpenVINO ${OpenVINO_VERSION} (${OpenVINO_FOUND}), TensorRT ${TensorRT_VERSION} (${TensorRT_FOUND})")
