"""TensorRT from 8.5 to 11: its log, the differences between its versions, building and loading plans.

All modules here but `names` import `tensorrt` at their top, so nothing may import them before
`ast_edge.cuda.device.missing_for_tensorrt` found nothing missing.
"""
