"""Addresses of streams: which are known, how they are called, and how their credentials stay out of sight."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, unquote_plus, urlsplit

from ifseg_rt.errors import UsageError

SCHEMES = ("rtsp", "rtsps", "http", "https", "udp", "srt", "rtmp", "tcp")
_NEED_A_PORT = ("udp", "srt", "tcp")
_MAY_LISTEN = ("udp", "srt", "tcp")  # these take an address without a host: every address of this machine

HIDDEN = "***"
# Parts of the names of values that open a door. Hiding a harmless one costs nothing.
_SECRETS = re.compile(
    r"access|account|auth|cred|hdn|hmac|jwt|key|login|pass|policy|pwd|secret|session|sig|streamid|token|usr|user|\bpw$|\bu$"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(?:://|%3A%2F%2F)[^\s'\"<>]+", re.IGNORECASE)
# Cameras of one make are asked for /user=admin_password=x_channel=1_stream=0.sdp: values end where these names begin.
_IN_PATH = re.compile(r"[/&;]|_(?=(?:user|password|channel|stream|subtype)=)")
_IN_QUERY = re.compile("[&;]")
_LONGEST_STEM = 80


@dataclass(frozen=True)
class Address:
    """One address of a stream.

    Attributes:
        url: the whole of it, for the library that connects; never to be printed.
        scheme: in lower case.
        shown: the same for people: credentials are replaced by ``***``.
        stem: host and path as a file name without suffix.
        path: the path part, unquoted.
    """

    url: str = field(repr=False)
    scheme: str
    shown: str
    stem: str
    path: str = field(repr=False)

    def hide(self, text: str) -> str:
        """Replace what this address holds in secret, wherever and however encoded it stands in a text."""
        text = hide_credentials(text.replace(self.url, self.shown))
        for secret in _secrets(self.url):
            text = text.replace(secret, HIDDEN)
        return text


def scheme_of(argument: str) -> str | None:
    """The scheme, in lower case, of what looks like an address (``rtsp://...``); ``None`` for anything else."""
    match = _SCHEME.match(argument)
    return match.group(1).lower() if match else None


def parse(argument: str) -> Address:
    """Take an address apart.

    Raises:
        UsageError: an unknown scheme, or an address that cannot be one. It shows no credentials.
    """
    scheme = scheme_of(argument)
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise UsageError(f"addresses of the kind {scheme or ''}:// are not read; known are {known} and file://")
    url = scheme + argument[len(scheme) :]
    if not url.isprintable() or " " in url:
        raise _malformed(scheme, "it holds spaces or control characters", "write a space as %20")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # A password with a slash ends the host part too early: nothing after :// is safe to print.
        raise _malformed(
            scheme,
            "host or port cannot be one",
            "expected SCHEME://HOST:PORT/PATH; write @ : / ? # in user and password as %40 %3A %2F %3F %23",
        ) from None
    if not parts.hostname and scheme not in _MAY_LISTEN:
        raise _malformed(scheme, "it names no host", f"expected {scheme}://HOST/PATH")
    if port is None and scheme in _NEED_A_PORT:
        raise _malformed(scheme, "it names no port", f"expected {scheme}://HOST:PORT")
    return Address(url, scheme, _shown(parts), _stem(parts), unquote(parts.path))


def file_of_url(argument: str) -> Path | None:
    """The local file that a ``file://`` address means; ``None`` where the argument is none.

    Raises:
        UsageError: it names another machine.
    """
    if scheme_of(argument) != "file":
        return None
    # ? and # are letters of a file name here: nothing is asked of a server.
    host, _, path = argument[len("file://") :].partition("/")
    if host.lower() not in ("", "localhost"):
        raise UsageError(f"file://{host}/ is on another machine", hint="expected file:///PATH")
    from urllib.request import url2pathname  # it brings HTTP and TLS along, 25 ms

    return Path(url2pathname("/" + path))


def hide_credentials(text: str) -> str:
    """Replace users, passwords and keys of every address in a text by ``***``."""
    return _IN_TEXT.sub(lambda match: _hidden(match.group()), text)


def _malformed(scheme: str, reason: str, hint: str) -> UsageError:
    return UsageError(f"the {scheme}:// address is malformed: {reason}", hint=hint)


def _hidden(url: str) -> str:
    try:
        return _shown(urlsplit(url if "://" in url else unquote(url)))
    except ValueError:
        return url.split(":")[0].split("%")[0] + "://" + HIDDEN


def _shown(parts: SplitResult) -> str:
    if _is_torn(parts):
        return f"{parts.scheme}://{HIDDEN}"
    user, at, host = parts.netloc.rpartition("@")
    # udp://@239.0.0.1:5000 is how FFmpeg writes a group to join; nobody logs in there.
    shown = f"{parts.scheme}://{HIDDEN if user else ''}{at}{host}{_assignments(parts.path, _IN_PATH)[0]}"
    shown += f"?{_assignments(parts.query, _IN_QUERY)[0]}" if parts.query else ""
    return shown + (f"#{_assignments(parts.fragment, _IN_QUERY)[0]}" if parts.fragment else "")


def _is_torn(parts: SplitResult) -> bool:
    """Whether a / or ? in the password ended the host part too early, so that what looks like a host may be secret."""
    return "@" not in parts.netloc and any("@" in part for part in parts[2:])


def _assignments(text: str, separator: re.Pattern[str]) -> tuple[str, list[str]]:
    """Hide the values of secret names in ``a=1&token=2``; gives the text and the values hidden."""
    shown, secrets, position = "", [], 0
    while position <= len(text):
        end = separator.search(text, position)
        piece = text[position : end.start() if end else len(text)]
        name, equals, value = piece.partition("=")
        if equals and _SECRETS.search(unquote_plus(name).lower()):
            if separator is _IN_QUERY:  # a semicolon may be a part of the value: hide rather too much
                value = text[position + len(name) + 1 :].partition("&")[0]
                piece = f"{name}={value}"
                end = separator.search(text, position + len(piece))
            secrets.append(value)
            piece = f"{name}={HIDDEN}"
        elif "://" in unquote_plus(piece) or "@" in unquote_plus(piece):  # an address in an address
            secrets.append(value)
            piece = f"{name}={HIDDEN}" if equals else HIDDEN
        shown += piece + (end.group() if end else "")
        position = end.end() if end else len(text) + 1
    return shown, secrets


def _secrets(url: str) -> list[str]:
    """Users, passwords and values of keys, as written and decoded, longest first; short ones would hide any text."""
    parts = urlsplit(url)
    found = set(parts.netloc.rpartition("@")[0].partition(":")[::2])
    for text, separator in ((parts.path, _IN_PATH), (parts.query, _IN_QUERY), (parts.fragment, _IN_QUERY)):
        found.update(_assignments(text, separator)[1])
    found |= {unquote(secret) for secret in found} | {unquote_plus(secret) for secret in found}
    return sorted((secret for secret in found if len(secret) > 3), key=len, reverse=True)


def _stem(parts: SplitResult) -> str:
    if _is_torn(parts):
        return parts.scheme
    port = f"_{parts.port}" if parts.port else ""
    whole = f"{parts.hostname or parts.scheme}{port}_{unquote(_assignments(parts.path, _IN_PATH)[0])}"
    return re.sub(r"[^A-Za-z0-9.\-]+", "_", whole).strip("._-")[:_LONGEST_STEM] or parts.scheme
