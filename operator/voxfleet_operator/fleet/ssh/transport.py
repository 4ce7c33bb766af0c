"""An authenticated SSH transport to a Mac, with pinned host keys and strong algorithms; it never runs a command."""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import io
import logging
import socket
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import paramiko
from paramiko.ssh_exception import ChannelException, PasswordRequiredException

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.mac_agent import SshAccess
from voxfleet_operator.fleet.dialer import DialError

# Every failure reaches the caller as an exception; paramiko would also print its traceback.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
KEEPALIVE_SECONDS = 20
THREAD_END_SECONDS = 5.0
_RSA_ALGORITHMS = ("rsa-sha2-512", "rsa-sha2-256")
_PRIVATE_KEY_TYPES: tuple[type[paramiko.PKey], ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


@dataclass(frozen=True, slots=True)
class PinnedKey:
    type: str
    blob: bytes


@dataclass(frozen=True, slots=True)
class SshTimeouts:
    connect_seconds: float = 10.0
    handshake_seconds: float = 15.0
    authentication_seconds: float = 15.0
    channel_seconds: float = 10.0
    proof_seconds: float = 10.0


def pinned_keys(host_keys: Iterable[str]) -> tuple[PinnedKey, ...]:
    """Parses spec.ssh.hostKeys. Raises DialError naming an entry whose base64 is not a key of its type."""
    pins = []
    for index, line in enumerate(host_keys):
        key_type, _, text = line.partition(" ")
        field = f"spec.ssh.hostKeys[{index}]"
        try:
            blob = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise DialError(
                Reason.INVALID_SPEC, f"{field} is not valid base64; copy the line of ssh-keyscan without the host"
            ) from error
        inner = blob[4 : 4 + int.from_bytes(blob[:4])]
        if inner != key_type.encode():
            raise DialError(
                Reason.INVALID_SPEC, f"{field} says {key_type} but holds another key; copy the line of ssh-keyscan"
            )
        pins.append(PinnedKey(key_type, blob))
    return tuple(pins)


def host_key_algorithms(pins: Iterable[PinnedKey], known: Iterable[str]) -> tuple[str, ...]:
    """The algorithms to ask the server for: the pinned types in their order, then the others.

    The others only serve to name the fingerprint of a server that has no key of a pinned type.
    """
    pinned = [name for pin in pins for name in (_RSA_ALGORITHMS if pin.type == "ssh-rsa" else (pin.type,))]
    return tuple(dict.fromkeys([*pinned, *known]))


def private_key(pem: bytes, secret: str) -> paramiko.PKey:
    """Reads an OpenSSH or PEM private key. Raises DialError naming `secret` if it cannot."""
    try:
        text = pem.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    for key_type in _PRIVATE_KEY_TYPES:
        try:
            return key_type.from_private_key(io.StringIO(text))
        except PasswordRequiredException as error:
            raise DialError(
                Reason.SSH_AUTHENTICATION_FAILED, f"{secret} holds an encrypted key; store one without a passphrase"
            ) from error
        except (paramiko.SSHException, ValueError, IndexError):
            continue
    raise DialError(
        Reason.SSH_AUTHENTICATION_FAILED, f"{secret} is no private key; store one made by: ssh-keygen -t ed25519 -N ''"
    )


@asynccontextmanager
async def connect(
    access: SshAccess, identity_pem: bytes, threads: Executor, timeouts: SshTimeouts
) -> AsyncIterator[paramiko.Transport]:
    """Opens an authenticated transport, which closes on exit. Raises DialError.

    Compares the host key before it sends anything secret or personal (user name, client key).
    """
    pins = pinned_keys(access.host_keys)
    key = private_key(identity_pem, f"Secret {access.identity_secret_ref.name}, key {access.identity_secret_ref.key},")
    connection = await _connect_tcp(access, threads, timeouts)
    try:
        transport = _transport(connection, pins, timeouts)
    except BaseException:
        connection.close()
        raise
    loop = asyncio.get_running_loop()
    try:
        await loop.run_in_executor(threads, _log_in, transport, access, pins, key, timeouts)
        yield transport
    finally:
        await asyncio.shield(loop.run_in_executor(threads, _close, transport))


def open_loopback(transport: paramiko.Transport, port: int, timeouts: SshTimeouts) -> paramiko.Channel:
    """Opens a channel to 127.0.0.1:`port` on the Mac. Blocks. Raises DialError."""
    try:
        return transport.open_channel(
            "direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 0), timeout=timeouts.channel_seconds
        )
    except ChannelException as error:
        message = (
            f'sshd forbids forwarding to 127.0.0.1:{port}; its authorized_keys needs permitopen="127.0.0.1:{port}"'
            if error.code == 1
            else f"nothing listens on 127.0.0.1:{port} on the Mac; start voxfleet-agent there or fix spec.ssh.agentPort"
        )
        raise DialError(Reason.AGENT_UNREACHABLE, message) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise DialError(Reason.SSH_UNREACHABLE, f"the SSH connection broke: {_text(error)}") from error


async def _connect_tcp(access: SshAccess, threads: Executor, timeouts: SshTimeouts) -> socket.socket:
    """Connects without a thread: a dead Mac must not hold one until the timeout."""
    loop = asyncio.get_running_loop()
    lookup = functools.partial(socket.getaddrinfo, access.host, access.port, type=socket.SOCK_STREAM)
    failure = "the name has no address"
    try:
        async with asyncio.timeout(timeouts.connect_seconds):
            for family, kind, protocol, _, address in await loop.run_in_executor(threads, lookup):
                connection = socket.socket(family, kind, protocol)
                try:
                    connection.setblocking(False)
                    await loop.sock_connect(connection, address)
                    # A request's head and body are two packets; Nagle's algorithm would hold the second back.
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError as error:
                    connection.close()
                    failure = _text(error)
                except BaseException:
                    connection.close()
                    raise
                else:
                    return connection
    except TimeoutError:
        failure = f"no answer in {timeouts.connect_seconds:g} s"
    except OSError as error:
        failure = _text(error)
    raise DialError(
        Reason.SSH_UNREACHABLE,
        f"cannot reach sshd at {access.host}:{access.port}: {failure};"
        " check spec.ssh.host, spec.ssh.port and that Remote Login is on",
    )


def _transport(connection: socket.socket, pins: tuple[PinnedKey, ...], timeouts: SshTimeouts) -> paramiko.Transport:
    transport = paramiko.Transport(connection)
    transport.banner_timeout = timeouts.handshake_seconds
    transport.handshake_timeout = timeouts.handshake_seconds
    transport.auth_timeout = timeouts.authentication_seconds
    options = transport.get_security_options()
    options.ciphers = CIPHERS
    options.digests = MACS
    options.key_types = host_key_algorithms(pins, options.key_types)
    return transport


def _log_in(
    transport: paramiko.Transport,
    access: SshAccess,
    pins: tuple[PinnedKey, ...],
    key: paramiko.PKey,
    timeouts: SshTimeouts,
) -> None:
    where = f"sshd at {access.host}:{access.port}"
    try:
        transport.start_client(timeout=timeouts.handshake_seconds)
        offered = transport.get_remote_server_key()
    except (paramiko.SSHException, EOFError, OSError, ValueError) as error:
        raise DialError(
            Reason.SSH_UNREACHABLE,
            f"{where} did not complete the SSH handshake: {_text(error)}; check that spec.ssh.port is sshd's port",
        ) from error
    if offered.asbytes() not in {pin.blob for pin in pins}:
        raise DialError(
            Reason.HOST_KEY_MISMATCH,
            f"{where} offered {offered.get_name()} {offered.fingerprint}, which is not in spec.ssh.hostKeys;"
            " nothing was sent. If this is the Mac's new key (compare on the Mac itself), pin it there",
        )
    try:
        missing = transport.auth_publickey(access.user, key)
    except paramiko.AuthenticationException as error:
        raise _login_refused(where, access, key) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise DialError(Reason.SSH_UNREACHABLE, f"{where} broke off the login: {_text(error)}") from error
    if missing:
        raise _login_refused(where, access, key)
    transport.set_keepalive(KEEPALIVE_SECONDS)


def _login_refused(where: str, access: SshAccess, key: paramiko.PKey) -> DialError:
    return DialError(
        Reason.SSH_AUTHENTICATION_FAILED,
        f"{where} refused user {access.user} with key {key.fingerprint} of Secret {access.identity_secret_ref.name},"
        f" key {access.identity_secret_ref.key}; add its public key to the user's authorized_keys or fix spec.ssh.user",
    )


def _close(transport: paramiko.Transport) -> None:
    transport.close()
    if transport.is_alive():
        transport.join(THREAD_END_SECONDS)
    transport.packetizer.complete_handshake()  # stops the timer that paramiko's thread started, which would linger
    transport.sock.close()


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
