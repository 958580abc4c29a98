"""Training on pictures of good parts; the only package in ast_edge that may import torch.

"The paper" is Rudolph, Wehrbein, Rosenhahn, Wandt: "Asymmetric Student-Teacher Networks for Industrial
Anomaly Detection", WACV 2023; its sections are cited by title.
"""
