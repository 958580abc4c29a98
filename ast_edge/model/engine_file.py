"""The engine file: a TensorRT plan, and beside it a description of its source and its machine.

`model.engine` is the plan, `model.engine.json` the sidecar, and `model.engine.cubin` the compiled kernels
that prepare frames for it, if they were built too. Requirements on the sidecar:

* one JSON object with the keys of `EngineInfo` (see `ast_edge.model.engine_info`) and no other, under 32 MiB,
  sealed by a digest of its bytes (see `ast_edge.model.seal`); sidecars of format 1, whose digest is that of a
  canonical form, are still read;
* `source` is the name of the ONNX file, without a folder;
* `plan` and `kernels` give the size and SHA-256 of the files beside it;
* `manifest` is the manifest of the model that the plan was built from (see `ast_edge.model.manifest`); its
  threshold is the one in force, and `ast-edge calibrate` on the engine writes a new revision there;
* `built_for` is the GPU, the driver and the TensorRT version that the plan was built with; for a plan of
  TensorRT for RTX, which is built on any machine, its version, the compute capabilities that it serves, and
  `proof`, which is "pending" (see `ast_edge.model.engine_proof`).

A plan contains machine code, so it is passed to TensorRT only after all these checks, and exactly the checked
bytes are passed. The digests detect damage and mix-ups; they are not a signature: load engines only from
folders that only trusted users can write.
"""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from pydantic import ValidationError

from ast_edge.errors import ModelError, reason
from ast_edge.files import write_bytes, write_text
from ast_edge.model.engine_info import FORMAT_VERSION, Content, EngineInfo
from ast_edge.model.manifest import Manifest
from ast_edge.model.onnx_file import ModelFile, read_model_file, rewrite_manifest
from ast_edge.model.seal import canonical_digest, seal_holds
from ast_edge.wording import first_problem

MAX_SIDECAR_BYTES = 32 << 20


@dataclass(frozen=True)
class EngineFile:
    """An engine file, with its bytes, that passed every check that needs no GPU."""

    path: Path
    info: EngineInfo
    plan: bytes = field(repr=False)
    kernels: bytes | None = field(repr=False)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model."""
        return self.info.manifest

    @property
    def size(self) -> int:
        """Size of the plan in bytes."""
        return self.info.plan.bytes

    @property
    def embedded_reference(self) -> None:
        """None: an engine contains no reference vectors; those beside it are used."""
        return None


AnyModel: TypeAlias = ModelFile | EngineFile


def read_any(path: Path) -> AnyModel:
    """Check the model or, by its suffix `.engine`, the engine at `path`. Raises ModelError."""
    return read_engine_file(path) if path.suffix == ".engine" else read_model_file(path)


def rewrite_any(model: AnyModel, manifest: Manifest) -> AnyModel:
    """Replace the manifest that `model` was read with by `manifest`; see `rewrite_manifest`."""
    if isinstance(model, EngineFile):
        return rewrite_engine_manifest(model, manifest)
    return rewrite_manifest(model, manifest)


def sidecar_path(engine: Path) -> Path:
    """`model.engine.json`."""
    return engine.with_name(engine.name + ".json")


def kernels_path(engine: Path) -> Path:
    """`model.engine.cubin`."""
    return engine.with_name(engine.name + ".cubin")


def build_command(engine: Path, info: EngineInfo) -> str:
    """Return the command that builds `engine` again."""
    kind = "" if info.rtx is None else " --for rtx"
    return f"`ast-edge build-engine {engine.with_name(info.source)} -o {engine}{kind}`"


def read_engine_file(path: Path) -> EngineFile:
    """Check the engine at `path` from cheap to expensive: sidecar, sizes, digests, and the model beside it.

    Raises ModelError, in one sentence that ends with what to do, if a file is missing, damaged, of a newer
    ast-edge or of another build, or if the ONNX file beside it was exported again since.
    """
    info = _read_sidecar(path)
    command = build_command(path, info)
    plan = _checked_content(path, info.plan, "the plan", command)
    kernels = None
    if info.kernels is not None:
        kernels = _checked_content(kernels_path(path), info.kernels, "the kernels", command)
    _check_source(path, info, command)
    return EngineFile(path, info, plan, kernels)


def write_engine_file(target: Path, plan: memoryview, kernels: bytes | None, info: EngineInfo) -> EngineFile:
    """Write the plan, the kernels and the sidecar; the sidecar last, since it confirms the others.

    The sidecar of an existing engine is removed first, so that a crash in between leaves an engine that is
    refused, never a mixture. Raises ModelError when something cannot be written.
    """
    try:
        sidecar_path(target).unlink(missing_ok=True)
        if kernels is None:
            kernels_path(target).unlink(missing_ok=True)
        else:
            write_bytes(kernels_path(target), kernels)
        write_bytes(target, plan)
        write_text(sidecar_path(target), info.to_json())
    except OSError as exc:
        raise ModelError(
            f"{target}: the engine cannot be written ({reason(exc)}); check folder and disk space."
        ) from exc
    return read_engine_file(target)


def content_of(data: bytes | memoryview) -> Content:
    """Return size and SHA-256 of `data`."""
    return Content(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def rewrite_engine_manifest(engine: EngineFile, manifest: Manifest) -> EngineFile:
    """Replace the manifest that `engine` was read with by `manifest`, atomically.

    Raises ModelError if the sidecar was changed since it was read or cannot be written.
    """
    if _read_sidecar(engine.path) != engine.info:
        raise ModelError(f"{engine.path}: was changed by another process meanwhile; run the command again.")
    info = engine.info.model_copy(update={"manifest": manifest})
    try:
        write_text(sidecar_path(engine.path), info.to_json())
    except OSError as exc:
        raise ModelError(f"{sidecar_path(engine.path)}: cannot be written ({reason(exc)}).") from exc
    return replace(engine, info=_read_sidecar(engine.path))


def _read_sidecar(path: Path) -> EngineInfo:
    _check_regular(path, "the engine")
    sidecar = sidecar_path(path)
    _check_regular(sidecar, "the engine's sidecar")
    try:
        if sidecar.stat().st_size > MAX_SIDECAR_BYTES:
            raise _refused(sidecar, f"it has more than {MAX_SIDECAR_BYTES} bytes")
        data = sidecar.read_bytes()
        content = json.loads(data.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise _refused(sidecar, f"it cannot be read as JSON ({exc})") from exc
    if not isinstance(content, dict):
        raise _refused(sidecar, "it is not a JSON object")
    version = _checked_version(content, sidecar)
    digest = content.pop("digest", None)
    if not (digest == canonical_digest(content) if version < FORMAT_VERSION else seal_holds(data)):
        raise _refused(sidecar, "it was changed after it was written (its digest does not match)")
    manifest = _read_manifest(content.pop("manifest", None), sidecar)
    try:
        return EngineInfo.model_validate({**content, "manifest": manifest})
    except ValidationError as exc:
        key, said = first_problem(exc)
        raise _refused(sidecar, f"key '{key}': {said}") from exc


def _read_manifest(content: object, sidecar: Path) -> Manifest:
    if not isinstance(content, dict):
        raise _refused(sidecar, "key 'manifest' is missing or not a JSON object")
    content.pop("digest", None)  # of sidecars of format 1; the sidecar's own digest covers the manifest
    return Manifest.from_content(content, str(sidecar))


def _checked_version(content: dict[str, object], sidecar: Path) -> int:
    version = content.get("format_version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _refused(sidecar, "it has no format_version")
    if version > FORMAT_VERSION:
        raise ModelError(
            f"{sidecar}: engine format {version} is newer than format {FORMAT_VERSION}, the newest this "
            "version of ast-edge reads; upgrade ast-edge on this machine or build the engine again."
        )
    return version


def _check_regular(path: Path, what: str) -> None:
    try:
        status = path.stat()
    except FileNotFoundError as exc:
        raise ModelError(
            f"{path}: there is no such file; {what} is made by `ast-edge build-engine model.onnx`."
        ) from exc
    except (OSError, ValueError) as exc:
        raise ModelError(f"{path}: {what} cannot be read ({reason(exc)}); check the path.") from exc
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path}: is not a file; {what} is made by `ast-edge build-engine model.onnx`.")


def _checked_content(path: Path, expected: Content, what: str, command: str) -> bytes:
    """Return the bytes of a file, after comparing them with the sidecar."""
    _check_regular(path, what)
    data = b""
    try:
        size = path.stat().st_size
        if size == expected.bytes:
            data = path.read_bytes()
            size = len(data)
    except OSError as exc:
        raise ModelError(f"{path}: {what} cannot be read ({reason(exc)}).") from exc
    found = hashlib.sha256(data).hexdigest()
    if size != expected.bytes:
        why = f"{size} bytes, the sidecar expects {expected.bytes}: truncated or of another build"
    elif found != expected.sha256:
        why = f"SHA-256 {found[:12]}..., the sidecar expects {expected.sha256[:12]}...: of another build"
    else:
        return data
    raise ModelError(f"{path}: {what} is not the one that was built ({why}); build it again: {command}.")


def _check_source(path: Path, info: EngineInfo, command: str) -> None:
    """Refuse an engine beside a newer export of its model."""
    source = path.with_name(info.source)
    if not source.exists():
        return
    found = read_model_file(source).manifest.network_sha256
    if found != info.manifest.network_sha256:
        raise ModelError(
            f"{path}: was built from another {source.name} than the one beside it (network "
            f"{info.manifest.network_sha256[:12]}..., found {found[:12]}...); build it again: {command}."
        )


def _refused(sidecar: Path, why: str) -> ModelError:
    return ModelError(
        f"{sidecar}: the engine's sidecar is damaged: {why}; build the engine again with "
        "`ast-edge build-engine`."
    )
