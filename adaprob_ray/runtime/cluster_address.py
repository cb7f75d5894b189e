"""Whether a Ray cluster answers at an address, found out in seconds: ray.init itself tries for a quarter of an hour."""

from __future__ import annotations

import re
import socket

from adaprob_ray.errors import InputError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 8.0

_ADDRESS = re.compile(r"[^/@\s]+:\d+")


def check_address(address: str) -> None:
    """Raise InputError unless a Ray cluster at `address` answers, accepts this process's token and has a node on this machine.

    Call it after `ray_environment.prepare`, because it imports Ray.

    Args:
        address: HOST:PORT of the head node, or "auto" for the cluster that this machine belongs to. Not ray://…: Ray Client
            sends the searcher to the cluster without the cells that it suggests.
    """
    if address != "auto" and not _ADDRESS.fullmatch(address):
        raise InputError(
            "--address: must be HOST:PORT of the head node (port 6379 by default), or auto on one of the cluster's nodes, "
            f"got {address}"
        )
    place = _head_of_this_machine() if address == "auto" else address
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--address {address}: no Ray cluster answers at {place} ({error}); start one there, or correct the address"
        ) from error
    _check_head(address, place)


def _head_of_this_machine() -> str:
    from ray._private.services import canonicalize_bootstrap_address

    try:
        place: str | None = canonicalize_bootstrap_address("auto")
    except (ConnectionError, ValueError) as error:
        raise InputError(f"--address auto: this machine belongs to no Ray cluster: {error}") from error
    if place is None:
        raise InputError("--address auto: this machine belongs to no Ray cluster: RAY_ADDRESS is 'local'")
    return place


def _check_head(address: str, place: str) -> None:
    """Ask the head node whether it is alive, by the remote procedure call that Ray's own health checks use."""
    import grpc
    import ray
    from ray._private.authentication.authentication_token_setup import (
        ensure_token_if_auth_enabled,
        maybe_enable_token_auth_if_token_available,
    )
    from ray._private.grpc_utils import init_grpc_channel
    from ray._private.services import find_node_ids
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    token = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token that the cluster was started with"
    try:
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        ensure_token_if_auth_enabled(create_token_if_missing=False)
    except ray.exceptions.AuthenticationError as error:
        raise InputError(f"--address {address}: RAY_AUTH_MODE is token, but no token was found; {token}") from error
    channel = init_grpc_channel(place, options=[("grpc.enable_http_proxy", 0)])
    try:
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        reply = stub.CheckAlive(gcs_service_pb2.CheckAliveRequest(), timeout=ANSWER_SECONDS)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise InputError(
                f"--address {address}: the cluster refuses this token, or the lack of one; {token}"
            ) from error
        details = " ".join((error.details() or "").split())[:200]
        raise InputError(
            f"--address {address}: {place} is not the head node of a Ray cluster (its port is 6379 by default): "
            f"{error.code().name.lower()}: {details}"
        ) from error
    finally:
        channel.close()
    if reply.ray_version != ray.__version__:
        raise InputError(
            f"--address {address}: the cluster must run Ray {ray.__version__}, as this process does, got {reply.ray_version}"
        )
    if not find_node_ids():
        raise InputError(
            f"--address {address}: this machine is not a node of that cluster, and the command must run on one: "
            "give it on the head node, or with `ray job submit`"
        )
