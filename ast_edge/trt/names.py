"""Names of TensorRT that some versions lack, and the versions that have them.

A test collects every name that this package uses and holds it against NVIDIA's own bindings: those not listed
here exist in all of `VERSIONS`.
"""

from __future__ import annotations

VERSIONS = ("8.5", "8.6", "10.3", "10.16", "11.4")
ONLY_IN: dict[str, tuple[str, ...]] = {
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": ("10.3", "10.16", "11.4"),
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": ("8.5", "8.6", "10.3", "10.16"),
    "BuilderFlag.FP16": ("8.5", "8.6", "10.3", "10.16"),
    "BuilderFlag.INT8": ("8.5", "8.6", "10.3", "10.16"),
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS": ("8.5", "8.6", "10.3", "10.16"),
    "BuilderFlag.VERSION_COMPATIBLE": ("8.6", "10.3", "10.16", "11.4"),
    "HardwareCompatibilityLevel.AMPERE_PLUS": ("8.6", "10.3", "10.16", "11.4"),
    "IBuilderConfig.hardware_compatibility_level": ("8.6", "10.3", "10.16", "11.4"),
    "IBuilderConfig.builder_optimization_level": ("8.6", "10.3", "10.16", "11.4"),
    "IBuilderConfig.progress_monitor": ("10.3", "10.16", "11.4"),
    "IProgressMonitor": ("10.3", "10.16", "11.4"),
    "Runtime.engine_host_code_allowed": ("8.6", "10.3", "10.16", "11.4"),
    "LayerType.CAST": ("8.6", "10.3", "10.16", "11.4"),
    "ILayer.precision": ("8.5", "8.6", "10.3", "10.16"),
    "ILayer.set_output_type": ("8.5", "8.6", "10.3", "10.16"),
}
