"""Whether a Ray cluster answers at an address, found out in seconds: ray.init itself tries for a quarter of an hour."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading

from adaprob_ray.errors import InputError

# Together below ten seconds, in which a name is looked up, a connection made and an answer received.
CONNECT_SECONDS = 4.0
ANSWER_SECONDS = 4.0

_HOST_PORT = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<host>[^][/@:\s]+)):(?P<port>[0-9]{1,5})")
MAX_PORT = 65535


def check_address(address: str) -> None:
    """Raise InputError unless a Ray cluster at `address` answers, accepts this process's token and has a node on this machine.

    Call it after `ray_environment.prepare`, because it imports Ray.

    Args:
        address: HOST:PORT of the head node, or "auto" for the cluster that this machine belongs to. Not ray://…: Ray Client
            sends the searcher to the cluster without the cells that it suggests.
    """
    place = address
    if address == "auto":
        place = _head_of_this_machine()
        if parse_address(place) is None:
            raise InputError(
                f"RAY_ADDRESS: must be HOST:PORT of the head node, as --address auto reads it, got {place!r}"
            )
    host_port = parse_address(place)
    if host_port is None:
        raise InputError(
            "--address: must be HOST:PORT of the head node (port 6379 by default; an IPv6 address in brackets), or auto on "
            f"one of the cluster's nodes, got {address!r}{_hint(address)}"
        )
    fault = _connection_fault(*host_port)
    if fault is not None:
        raise InputError(
            f"--address {address}: no Ray cluster answers at {place} ({fault}); start one there, or correct the address"
        )
    _check_head(address, place)


def parse_address(text: str) -> tuple[str, int] | None:
    """Host and port of HOST:PORT or [IPv6]:PORT; None for any other text.

    >>> [parse_address(text) for text in ("head:6379", "[::1]:6379", "::1:6379", "http://head:8265", "head:0")]
    [('head', 6379), ('::1', 6379), None, None, None]
    """
    match = _HOST_PORT.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= MAX_PORT:
        return None
    if match["ipv6"] is None:
        return match["host"], int(match["port"])
    try:
        ipaddress.IPv6Address(match["ipv6"])
    except ValueError:
        return None
    return match["ipv6"], int(match["port"])


def _hint(address: str) -> str:
    if address.startswith("ray://"):
        return "; Ray Client (ray://) cannot run sweeps: run the command on a node of the cluster, or with `ray job submit`"
    if address.startswith(("http://", "https://")):
        return "; that is the address of the dashboard, for `ray job submit --address`"
    return ""


def _connection_fault(host: str, port: int) -> str | None:
    """Why no TCP connection can be made, None if one can. In a thread, because a look-up of a name has no time limit."""
    faults: list[str | None] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
            faults.append(None)
        except (OSError, UnicodeError) as error:  # the second for a name that IDNA cannot encode
            faults.append(str(error))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS + 0.5)
    return faults[0] if faults else f"no connection within {CONNECT_SECONDS:.0f} s"


def _head_of_this_machine() -> str:
    from ray._private.services import canonicalize_bootstrap_address

    try:
        place: str | None = canonicalize_bootstrap_address("auto")
    except (OSError, ValueError) as error:
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
            f"--address {address}: must be the head node of a Ray cluster (its port is 6379 by default), got {place}: "
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
            "run it on the head node, or with `ray job submit`"
        )
