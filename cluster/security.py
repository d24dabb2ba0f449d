"""Who may ask: the one place where a request is authenticated.

Today a deployment is open or guarded by one bearer token; keys, roles and limits will be added here.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Mapping

from cluster.errors import ConfigError, Unauthenticated
from cluster.records import Record


class Principal(Record, frozen=True, kw_only=True):
    """Who asks."""

    name: str


ANYONE = Principal(name="anyone")
BEARER = Principal(name="bearer")


class Authenticator:
    """Decides who a request comes from.

    Parameters
    ----------
    token_env
        Name of the environment variable that holds the bearer token; None lets anyone in.

    Raises
    ------
    ConfigError
        When the variable is named and empty: a service must not become open by a typing error.
    """

    def __init__(self, token_env: str | None) -> None:
        self._token = b""
        if token_env is not None:
            self._token = os.environ.get(token_env, "").strip().encode()
            if not self._token:
                raise ConfigError(
                    f"serving.token_env names the environment variable {token_env}, which is empty here; set it before Ray starts"
                )

    def identify(self, headers: Mapping[bytes, bytes]) -> Principal:
        """The caller, from headers by their name in lower case.

        Raises
        ------
        Unauthenticated
            When a token is required and the header does not carry it.
        """
        if not self._token:
            return ANYONE
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
            raise Unauthenticated("this service needs a token; send the header: Authorization: Bearer TOKEN")
        return BEARER

    def identify_reader(self, headers: Mapping[bytes, bytes]) -> Principal:
        """The caller of a page that changes nothing: as `identify`, or a browser that asks its user (HTTP Basic, RFC 7617).

        Any user name goes; the password is the token. Only for pages: what a browser was told once it sends with every request to this
        host, those that another site's page makes included, so nothing that acts may take it.

        Raises
        ------
        Unauthenticated
            When a token is required and the header does not carry it.
        """
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"basic":
            return self.identify(headers)
        return self.identify({b"authorization": b"Bearer " + _password(given)})


def _password(given: bytes) -> bytes:
    """Of Basic's `user:password`; empty when it is not that."""
    try:
        return base64.b64decode(given.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
