"""What the monitor needs of a bundle: its schema, its profile, what its cascade promises, and no model."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cluster import bundle, storage
from cluster.bundle import CascadeRule
from cluster.encoder import Encoder
from cluster.errors import BundleError
from cluster.records import Pointer
from cluster.schema import FeatureSchema
from monitoring import profile
from monitoring.agreement import promise_of
from monitoring.sketches import Sketcher


class View:
    """A bundle as the monitor sees it.

    Parameters
    ----------
    version
        The registry's name for it.
    schema, reference
        Frozen schema and profile of the bundle.
    rule
        Its cascade's.
    """

    def __init__(self, version: str, schema: FeatureSchema, reference: profile.Profile, rule: CascadeRule | None = None) -> None:
        self.version = version
        self.schema = schema
        self.profile = reference
        self.encoder = Encoder(schema)
        self.sketcher = Sketcher(reference.columns)
        self.promise = promise_of(rule, schema.label.task)


def load(pointer: Pointer, cache: Path) -> View:
    """Fetch, verify and read a bundle; no graph of it is loaded.

    Raises
    ------
    BundleTampered, BundleError, StorageError
    """
    folder = storage.fetch_folder(pointer.uri, cache)
    bundle.verify(folder, digest=pointer.digest)
    try:
        schema = FeatureSchema.model_validate_json((folder / "schema.json").read_bytes())
        reference = profile.read((folder / "profile.json").read_bytes())
        rule = msgspec.json.decode((folder / "cascade.json").read_bytes(), type=CascadeRule)
    except (ValueError, msgspec.MsgspecError) as error:
        raise BundleError(f"bundle '{pointer.version}' has a schema, profile or cascade that cannot be read: {error}") from error
    return View(pointer.version, schema, reference, rule)
