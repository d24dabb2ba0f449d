"""The Open Inference Protocol over gRPC: the methods that Serve's gRPC server calls on the ingress deployment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol, TypeVar

import grpc

from cluster.errors import BodyTooLarge, HomeostatError
from serve_apps.endpoints.oip import check_version
from serve_apps.endpoints.service import VERSION
from serve_apps.gateway import Gateway
from serve_apps.http import Call, Message
from serve_apps.protocols import oip_grpc, oip_metadata
from serve_apps.protocols import open_inference_pb2 as pb
from serve_apps.protocols.errors import INTERNAL, status_of
from serve_apps.protocols.oip import InferRequest
from serve_apps.protocols.plane import DecodedRows
from serve_apps.served import ServedModel, View

logger = logging.getLogger("homeostat.serve")
_T = TypeVar("_T")
_MOST_DETAILS: Final = 1000
"""Characters: gRPC carries them in a header."""


class Context(Protocol):
    """What Serve passes beside a message."""

    def set_code(self, code: grpc.StatusCode) -> None:
        """The call's status."""

    def set_details(self, details: str) -> None:
        """What is said with it."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """The caller's metadata: gRPC's headers."""


class OipService:
    """Answers the protocol's calls through a gateway, by the names that the protocol gives them.

    Parameters
    ----------
    gateway
        Whose models answer.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def ServerLive(self, request: pb.ServerLiveRequest, grpc_context: Context) -> pb.ServerLiveResponse:  # noqa: N802, ARG002
        """The process is alive."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, grpc_context: Context) -> pb.ServerReadyResponse:  # noqa: N802, ARG002
        """A champion of every model is loaded."""
        return pb.ServerReadyResponse(ready=True)

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, grpc_context: Context) -> pb.ServerMetadataResponse:  # noqa: N802, ARG002
        """Name, version, extensions."""
        return oip_grpc.message_of(pb.ServerMetadataResponse, oip_metadata.server_metadata(VERSION))

    async def ModelReady(self, request: pb.ModelReadyRequest, grpc_context: Context) -> pb.ModelReadyResponse:  # noqa: N802
        """Whether a version of a model answers."""

        async def answer() -> pb.ModelReadyResponse:
            self._model(request.name, request.version, grpc_context)
            return pb.ModelReadyResponse(ready=True)

        return await _answered(answer, pb.ModelReadyResponse(), grpc_context)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, grpc_context: Context) -> pb.ModelMetadataResponse:  # noqa: N802
        """The tensors of a model."""

        async def answer() -> pb.ModelMetadataResponse:
            model = self._model(request.name, request.version, grpc_context)
            content = oip_metadata.model_metadata(model.current.schema, model=model.name, versions=model.versions())
            return oip_grpc.message_of(pb.ModelMetadataResponse, content)

        return await _answered(answer, pb.ModelMetadataResponse(), grpc_context)

    async def ModelConfig(self, request: pb.ModelConfigRequest, grpc_context: Context) -> pb.ModelConfigResponse:  # noqa: N802
        """The tensors of a model in Triton's words."""

        async def answer() -> pb.ModelConfigResponse:
            model = self._model(request.name, request.version, grpc_context)
            most = model.settings.serving.max_rows
            content = oip_metadata.model_config(model.current.schema, model=model.name, max_rows=most)
            return oip_grpc.message_of(pb.ModelConfigResponse, {"config": content})

        return await _answered(answer, pb.ModelConfigResponse(), grpc_context)

    async def RepositoryIndex(  # noqa: N802
        self,
        request: pb.RepositoryIndexRequest,  # noqa: ARG002
        grpc_context: Context,  # noqa: ARG002
    ) -> pb.RepositoryIndexResponse:
        """The models and the versions that answer."""
        content = oip_metadata.repository_index({name: model.versions() for name, model in self._gateway.models.items()})
        return oip_grpc.message_of(pb.RepositoryIndexResponse, {"models": content})

    async def ModelInfer(self, request: pb.ModelInferRequest, grpc_context: Context) -> pb.ModelInferResponse:  # noqa: N802
        """Score rows."""
        call = _call_of(request, grpc_context)

        async def answer() -> pb.ModelInferResponse:
            model = self._model(request.model_name, request.model_version, grpc_context)
            self._gateway.admit()
            most = model.settings.serving.max_body_bytes
            if request.ByteSize() > most:
                raise BodyTooLarge(f"the message has more than {most} bytes; send fewer rows at once, or raise serving.max_body_bytes")
            call.body = request.SerializeToString(deterministic=True)
            call.set_deadline(model.settings.serving.timeout_s)

            def decode(view: View, now: float) -> tuple[DecodedRows, InferRequest]:
                found = oip_grpc.decode_infer(view.oip, request, now=now)
                call.limit(found.timeout_s)
                return found.rows, found

            answered, found = await model.answer(call, decode)
            response = oip_grpc.encode_infer(found, answered)
            self._gateway.note(call.path, call, model.name, answered, 200)
            return response

        return await _answered(
            answer, pb.ModelInferResponse(), grpc_context, lambda status: self._gateway.note(call.path, call, "", None, status)
        )

    def _model(self, name: str, version: str, context: Context) -> ServedModel:
        model = self._gateway.named(name)
        model.authenticator.identify(dict(_headers(context)))
        check_version(model, version)
        return model


async def _answered(answer: Callable[[], Awaitable[_T]], empty: _T, context: Context, note: Callable[[int], object] | None = None) -> _T:
    """The answer, or an empty message with the status of what went wrong, of which `note` takes note as HTTP counts it."""
    try:
        return await answer()
    except HomeostatError as error:
        refused = error
    except Exception:
        logger.exception("a call by gRPC failed")
        refused = INTERNAL
    if note is not None:
        note(status_of(refused))
    context.set_code(oip_grpc.status_of(refused))
    context.set_details(refused.message[:_MOST_DETAILS])
    return empty


def _call_of(request: pb.ModelInferRequest, context: Context) -> Call:
    scope = {"type": "grpc", "method": "POST", "headers": list(_headers(context))}
    call = Call(scope, _silence, path="/inference.GRPCInferenceService/ModelInfer")
    if request.model_version:
        call.parameters = {"version": request.model_version}
    return call


def _headers(context: Context) -> Iterable[tuple[bytes, bytes]]:
    for name, value in context.invocation_metadata():
        yield name.encode(), value if isinstance(value, bytes) else value.encode()


async def _silence() -> Message:
    """A caller by gRPC that leaves is told by cancelling the call, never here."""
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
