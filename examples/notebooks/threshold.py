# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # What a threshold promises
#
# A threshold from *n* good parts is one of their scores: the smallest that keeps the expected share of rejected good parts
# at or below the target. This notebook shows what it promises for different *n*, and compares the promise with a simulation.

# %%
import numpy as np
from scipy import stats

from ast_edge.verdict.threshold import conformal_threshold

rng = np.random.default_rng(0)
TARGET = 0.05

# %% [markdown]
# ## The promise
#
# `expected` is the share of new good parts that will be rejected on average; with 95 % confidence the share is at most
# `upper`. More good parts bring `upper` closer to the target.

# %%
for parts in (10, 20, 50, 100, 300, 1000):
    scores = rng.gamma(4.0, 0.1, parts)
    found = conformal_threshold(scores, scores, false_reject_rate=TARGET)
    expected, upper = found.expected_false_reject_rate, found.upper_false_reject_rate
    print(
        f"{parts:5} parts: expected {expected:6.2%}, at most {upper:6.2%}; {found.good_parts_needed} needed"
    )

# %% [markdown]
# ## Is it true?
#
# Draw scores of good parts, set the threshold, and ask the distribution how many new good parts are rejected. The
# average must be at or below `expected`, and at most 5 % of the trials may exceed `upper`. The distribution does not
# matter, as long as the new parts come from the same one: that is why a change of light needs a new calibration.

# %%
PARTS, TRIALS = 99, 3000
rates, thresholds = [], []
for _ in range(TRIALS):
    scores = rng.gamma(4.0, 0.1, PARTS)
    found = conformal_threshold(scores, scores, false_reject_rate=TARGET)
    thresholds.append(found.value)
    rates.append(float(stats.gamma.sf(found.value, 4.0, scale=0.1)))
exceeded = np.mean(np.array(rates) > found.upper_false_reject_rate)
print(f"mean rate {np.mean(rates):.2%}, promised {found.expected_false_reject_rate:.2%}")
print(f"above {found.upper_false_reject_rate:.2%} in {exceeded:.1%} of the trials, promised 5 %")
assert exceeded < 0.07

# %% [markdown]
# ## When the light changes
#
# Now new parts score 20 % higher, as they may under another lamp. The promise no longer holds.

# %%
shifted = float(stats.gamma.sf(np.array(thresholds) / 1.2, 4.0, scale=0.1).mean())
print(f"rejected after the change: {shifted:.1%}")
assert shifted > TARGET
