"""ImageNet weights that timm downloads: on one machine always the same ones.

The digests of these files are published nowhere that this package could repeat them from, so the first
download is trusted: its revision at the hub and the SHA-256 of its tensors are kept in the cache and in the
run. Every later download is of that revision, and is refused if its tensors differ.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ast_edge.errors import WeightsError, reason
from ast_edge.files import cache_root, write_text
from ast_edge.train.checkpoint import state_digest

_FILES = ("model.safetensors", "pytorch_model.bin")  # timm's names at the hub, the preferred one first


@dataclass(frozen=True)
class Known:
    """The revision at the hub (empty if timm took them from elsewhere) and the SHA-256 of the tensors."""

    revision: str
    sha256: str


def downloaded_state(backbone: str) -> tuple[dict[str, Tensor], str]:
    """Return timm's state dict of `backbone`, downloaded or from timm's cache, and what it is.

    Raises WeightsError if there is none, or it is not the one that was downloaded first.
    """
    import timm  # noqa: PLC0415  # two seconds that `--help` must not pay

    about: Any = timm.models.get_pretrained_cfg(backbone)  # None for a network without weights
    hub_id = str(getattr(about, "hf_hub_id", None) or "")
    record = cache_root() / "weights" / f"{hub_id.replace('/', '--') or backbone}.json"
    known = _read(record)
    state = _download(backbone, f"{hub_id}@{known.revision}" if known is not None and known.revision else "")
    found = Known(known.revision if known is not None else _revision(hub_id), state_digest(state))
    if known is None:
        _keep(record, found)
    elif found != known:
        raise WeightsError(
            f"backbone {backbone}: the weights that timm gives are not those of the first download (SHA-256 "
            f"expected {known.sha256[:12]}..., found {found.sha256[:12]}..., {record}); if the new ones are "
            "wanted, delete that file, else give the weights with --weights FILE (safetensors)."
        )
    revision = f" revision {found.revision[:12]}" if found.revision else ""
    return state, f"timm {backbone}{revision}, sha256 {found.sha256}"


def _download(backbone: str, hub_id: str) -> dict[str, Tensor]:
    import timm  # noqa: PLC0415
    from huggingface_hub import constants  # noqa: PLC0415

    overlay = {"hf_hub_id": hub_id} if hub_id else None
    offline = constants.HF_HUB_OFFLINE
    try:
        # Without a network the hub's client would retry for most of a minute before giving up.
        constants.HF_HUB_OFFLINE = offline or not _reachable(constants.ENDPOINT)
        network: Any = timm.create_model(backbone, pretrained=True, pretrained_cfg_overlay=overlay)
    except (OSError, RuntimeError, ValueError) as exc:
        raise WeightsError(
            f"backbone {backbone}: its pretrained weights cannot be downloaded from this machine "
            f"({type(exc).__name__}); give them with --weights FILE (safetensors, timm's tensor names), or "
            "take --preset nano, whose weights are in an installed package."
        ) from exc
    finally:
        constants.HF_HUB_OFFLINE = offline
    state: dict[str, Tensor] = network.state_dict()
    return state


def _revision(hub_id: str) -> str:
    """Return the revision that the hub's client has in its cache; empty if timm took another source."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    for name in _FILES:
        found = try_to_load_from_cache(hub_id, name) if hub_id else None
        if isinstance(found, str):
            return Path(found).parent.name
    return ""


def _read(record: Path) -> Known | None:
    try:
        return Known(**json.loads(record.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as exc:
        raise WeightsError(
            f"{record}: cannot be read as the record of a download ({exc}); delete it."
        ) from exc


def _keep(record: Path, known: Known) -> None:
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_text(record, json.dumps(asdict(known), indent=1) + "\n")
    except OSError as exc:
        raise WeightsError(
            f"{record}: the digest of the downloaded weights cannot be kept ({reason(exc)}); AST_EDGE_CACHE "
            "names another folder."
        ) from exc


def _reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5):  # noqa: S310
            return True
    except OSError as exc:
        return isinstance(exc, urllib.error.HTTPError)
