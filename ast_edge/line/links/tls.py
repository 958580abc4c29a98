"""TLS of a connection: trusted authorities and our own certificate; certificates are always verified."""

from __future__ import annotations

import ssl
from pathlib import Path

from pydantic import model_validator
from typing_extensions import override

from ast_edge.errors import LineError, reason, sentence
from ast_edge.line.config.options import Options, Secret


class TlsOptions(Options):
    """`ca`: PEM file of the authorities trusted to sign the counterpart's certificate, default: those of the
    system. `certificate`, `key`: PEM files that identify this station, `key_password` if the key is
    encrypted. Python 3.13 and newer refuse certificates without key identifiers (RFC 5280), which an
    authority of one's own may have left out.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password: Secret | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> TlsOptions:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("give both certificate and key, or neither")
        if self.key_password is not None and self.key is None:
            raise ValueError("key_password is given without a key")
        return self

    def context(self, what: str) -> ssl.SSLContext:
        """Return a client context; `what` is the connection's name in errors. LineError for bad files."""
        context = self._trusting(what)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _ClosedAfterFailure
        if self.certificate is None or self.key is None:
            return context
        password = "" if self.key_password is None else self.key_password.read(f"{what}: key_password")
        try:
            # Without a password function OpenSSL would prompt for the password of the key on the terminal.
            context.load_cert_chain(self.certificate, self.key, lambda: password)
        except (OSError, ValueError) as exc:
            raise LineError(
                f"{what}: certificate {self.certificate} with key {self.key} cannot be used "
                f"({sentence(exc)}); give both as PEM, and key_password if the key is encrypted."
            ) from exc
        return context

    def _trusting(self, what: str) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca)
        except (OSError, ValueError) as exc:
            raise LineError(
                f"{what}: ca {self.ca} cannot be used ({reason(exc)}); give a PEM file of certificates."
            ) from exc


class _ClosedAfterFailure(ssl.SSLSocket):
    """Closes the socket of a failed handshake, which libraries forget."""

    @override
    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise
