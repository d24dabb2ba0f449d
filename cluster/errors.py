"""Every error Homeostat raises on purpose.

A message says what was wrong, what is allowed and what to do. Errors cross processes (Ray carries them by
pickle), so each is built from one message and optional details. HTTP status codes live at the edge, in
`serve_apps.protocols.errors`, not here.

    HomeostatError
    ├── ConfigError              the YAML file, the environment or a command's arguments
    ├── DataError                a table that cannot be read or does not fit its schema
    │   └── NotEnoughData        too few rows, or one class only
    ├── StorageError             a place that cannot be read or written
    ├── BundleError              a bundle that cannot be used
    │   ├── BundleTampered       a file differs from what the manifest or the registry recorded
    │   ├── UnsafeFormat         a file is not of the safe format that its name says
    │   └── ParityError          exported scores differ from native ones
    ├── RegistryError
    │   ├── UnknownVersion
    │   └── NoChampion           nothing has been trained and promoted yet
    ├── JournalError
    │   └── JournalCorrupt       the hash chain of a segment is broken
    ├── LedgerError
    │   ├── LedgerConflict       somebody else wrote the next entry first
    │   └── LedgerCorrupt        the hash chain of decisions is broken
    ├── Unavailable              the service cannot answer now; try again
    │   ├── Overloaded           refused at once: it could not have been answered in time
    │   └── DeadlineExceeded     the caller's time ran out before it was computed
    ├── ScoringFailed            the model fails on these rows, and on no others
    ├── InternalError            a fault of ours that no other error names
    └── RequestError             the caller's request, answered with a 4xx
        ├── Unauthenticated, CallerLeft
        ├── RouteNotFound, MethodNotAllowed, UnknownModel, NotServed
        ├── UnsupportedMediaType, BodyTooLarge, BadJson, BadRequestShape
        ├── NoRows, TooManyRows
        ├── InvalidRows          rows that do not fit the feature schema
        │   ├── MissingColumn, UnknownColumn
        │   ├── WrongType, NotFinite
        │   └── BadTime
        └── InvalidLabels
            ├── UnknownRequest, UnknownRow
            └── BadLabel
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Detail = Mapping[str, object]


class HomeostatError(Exception):
    """The root of the tree.

    Parameters
    ----------
    message
        One or more sentences for a person.
    details
        Facts for a program, JSON-compatible; for rows: `row`, `column`, `found`, `allowed`.
    """

    def __init__(self, message: str, *, details: Iterable[Detail] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details: tuple[Detail, ...] = tuple(details)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.details)


def _rebuild(cls: type[HomeostatError], message: str, details: tuple[Detail, ...]) -> HomeostatError:
    return cls(message, details=details)


class ConfigError(HomeostatError):
    """The YAML file, the environment or a command's arguments are wrong."""


class DataError(HomeostatError):
    """A table cannot be read, or does not fit its schema."""


class NotEnoughData(DataError):
    """Too few rows for what was asked, or only one class among them."""


class StorageError(HomeostatError):
    """A place cannot be read or written."""


class BundleError(HomeostatError):
    """A bundle cannot be used."""


class BundleTampered(BundleError):
    """A file of a bundle differs from what its manifest or the registry recorded."""


class UnsafeFormat(BundleError):
    """A file of a bundle is not of the safe format that its name says; it may be a pickle."""


class ParityError(BundleError):
    """Exported scores differ from native scores by more than the tolerance."""


class RegistryError(HomeostatError):
    """The model registry refused or lacks something."""


class UnknownVersion(RegistryError):
    """No such version of this model."""


class NoChampion(RegistryError):
    """No version of this model has been promoted yet."""


class JournalError(HomeostatError):
    """The journal cannot be written or read."""


class JournalCorrupt(JournalError):
    """The hash chain of a journal segment is broken."""


class LedgerError(HomeostatError):
    """The ledger cannot be written or read."""


class LedgerConflict(LedgerError):
    """Somebody else wrote the next entry first; read again and decide again."""


class LedgerCorrupt(LedgerError):
    """The hash chain of decisions is broken."""


class Unavailable(HomeostatError):
    """The service cannot answer at the moment; the same request may succeed later."""


class Overloaded(Unavailable):
    """Refused at once, because it could not have been answered in time."""


class DeadlineExceeded(Unavailable):
    """The time that the caller gave ran out before the work was begun; nothing was computed."""


class ScoringFailed(HomeostatError):
    """The model fails on these rows; others of the same batch are not affected."""


class InternalError(HomeostatError):
    """A fault of ours that no other error names; the log holds it."""


class RequestError(HomeostatError):
    """The caller's request is wrong."""


class Unauthenticated(RequestError):
    """No key, or a wrong one."""


class CallerLeft(RequestError):
    """The caller hung up before it was answered; what it asked for is dropped."""


class RouteNotFound(RequestError):
    """No such path."""


class MethodNotAllowed(RequestError):
    """The path exists, with another method."""


class UnknownModel(RequestError):
    """The named model is not served here."""


class NotServed(RequestError):
    """The model is served here, in another version than the request names."""


class UnsupportedMediaType(RequestError):
    """The body's content type is not one the route reads."""


class BodyTooLarge(RequestError):
    """The body has more bytes than the service accepts."""


class BadJson(RequestError):
    """The body is not JSON."""


class BadRequestShape(RequestError):
    """The body is JSON of another shape than the route documents."""


class NoRows(RequestError):
    """The request holds no rows."""


class TooManyRows(RequestError):
    """The request holds more rows than the service accepts at once."""


class InvalidRows(RequestError):
    """Rows do not fit the feature schema; `details` lists where."""


class MissingColumn(InvalidRows):
    """A row lacks a column of the schema."""


class UnknownColumn(InvalidRows):
    """A row has a column that the schema lacks."""


class WrongType(InvalidRows):
    """A value has another type than the schema says."""


class NotFinite(InvalidRows):
    """A number is infinite or too large for its type."""


class BadTime(InvalidRows):
    """The time column holds something that is not a time."""


class InvalidLabels(RequestError):
    """Labels cannot be taken; none of the request was."""


class UnknownRequest(InvalidLabels):
    """No prediction with that request id is in the journal."""


class UnknownRow(InvalidLabels):
    """The request exists and has fewer rows."""


class BadLabel(InvalidLabels):
    """The label is not one the schema allows."""
