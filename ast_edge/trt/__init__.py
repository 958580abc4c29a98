"""TensorRT from 8.5 to 11 and TensorRT for RTX: building, checking and loading plans.

`flavours` holds the differences between the two libraries, `versions` those between TensorRT's versions.
`build`, `log`, `runtime` and `versions` import the library at their top: nothing may import them before
`flavours.use` chose it and `ast_edge.cuda.device.missing_for_tensorrt`, or `Flavour.installed`, found nothing
missing.
"""
