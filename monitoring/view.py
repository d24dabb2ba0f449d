"""What the monitor needs of a bundle: its schema, its profile, and no model."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cluster import bundle, storage
from cluster.encoder import Encoder
from cluster.errors import BundleError
from cluster.records import Pointer
from cluster.schema import FeatureSchema
from monitoring import profile
from monitoring.sketches import Sketcher


class View:
    """A bundle as the monitor sees it.

    Parameters
    ----------
    version
        The registry's name for it.
    schema, reference
        Frozen schema and profile of the bundle.
    """

    def __init__(self, version: str, schema: FeatureSchema, reference: profile.Profile) -> None:
        self.version = version
        self.schema = schema
        self.profile = reference
        self.encoder = Encoder(schema)
        self.sketcher = Sketcher(reference.columns)


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
    except (ValueError, msgspec.MsgspecError) as error:
        raise BundleError(f"bundle '{pointer.version}' has a schema or profile that cannot be read: {error}") from error
    return View(pointer.version, schema, reference)
