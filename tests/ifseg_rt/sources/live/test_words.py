"""What a word means that is no file, and that no credentials are ever shown."""

from __future__ import annotations

import pytest

from ifseg_rt.errors import UsageError
from ifseg_rt.sources.live import live_source
from ifseg_rt.sources.network.urls import file_of_url, hide_credentials, parse
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.sources.stdin import only_one_stdin


@pytest.mark.parametrize(
    ("argument", "stem", "live"),
    [
        ("0", "camera_0", True),
        ("/dev/video7", "camera_video7", True),
        ("rtsp://user:secret@cam1/stream", "cam1_stream", True),
        ("RTSP://cam1:8554/a/b%20c.mp4", "cam1_8554_a_b_c.mp4", True),
        ("http://host/live.ts", "host_live.ts", True),
        ("https://host/x.mp4?token=geheim", "host_x.mp4", False),
        ("http://host/x.PNG", "host_x.PNG", False),
        ("udp://@239.0.0.1:5000", "239.0.0.1_5000", True),
        ("-", "stdin", False),
        ("screen:", "screen", True),
        ("screen::1/640x480+10+20@15", "screen", True),
        ("test:", "test_640x480", True),
        ("test:320x240@max", "test_320x240", False),
        ("gst:videotestsrc", "gst", True),
        ("csi://0", "camera_0", True),
    ],
)
def test_words(argument: str, stem: str, live: bool) -> None:
    source = live_source(argument, SourceSettings())
    assert source is not None
    assert (source.stem, source.is_live) == (stem, live)


@pytest.mark.parametrize("argument", ["clip.mp4", "12:30.mp4", "C:\\x.mp4", "file:///x.mp4", "testing", "", "-x", "²"])
def test_words_that_are_files(argument: str) -> None:
    assert live_source(argument, SourceSettings()) is None


@pytest.mark.parametrize(
    "argument",
    [
        "foo://user:geheim@host/x",
        "rtsp://",
        "rtsp://user:geheim@/x",
        "rtsp://user:ge/heim@host/x",
        "rtsp://user:geheim@host:port/x",
        "http://[::1/x",
        "rtsp://host/a geheim",
        "udp://host",
        "test:640",
        "test:0x480",
        "test:@0",
        "screen:640",
        "screen:640x0",
        "gst:",
        "csi://x",
    ],
)
def test_malformed_words_are_refused_before_any_work(argument: str) -> None:
    with pytest.raises(UsageError) as caught:
        live_source(argument, SourceSettings())
    shown = f"{caught.value} {caught.value.hint}"
    assert "geheim" not in shown
    assert "\n" not in shown


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"rtsp://.*https://.*srt://"):
        live_source("ftp://host/x", SourceSettings())


SECRETS = {
    "rtsp://geheim:pass%40word@host/x": ["geheim", "pass%40word", "pass@word"],
    "rtsp://admin:p@ss@host/x": ["admin", "p@ss"],
    "rtsp://admin:12/34@host/x": ["admin", "34"],
    "http://host/x?a=1&access_token=geheim_1&b=2": ["geheim"],
    "http://host/x?%74oken=ge;heim&frame=3": ["ge;", "heim"],
    "http://host/x?src=rtsp%3A%2F%2Fadmin%3Ageheim%40cam": ["admin", "geheim"],
    "rtsp://host/user=admin_password=ge_heim_channel=1_stream=0.sdp": ["admin", "heim"],
    "https://host/x.m3u8?X-Amz-Signature=abcd&Key-Pair-Id=efgh&Policy=ijkl": ["abcd", "efgh", "ijkl"],
    "srt://host:9?passphrase=geheimnis&streamid=#!::u=admin": ["geheim", "admin"],
}


@pytest.mark.parametrize("url", SECRETS)
def test_credentials_are_hidden_everywhere(url: str) -> None:
    address = parse(url)
    source = live_source(url, SourceSettings())
    assert source is not None
    shown = [address.shown, address.stem, repr(address), source.name, source.stem, repr(source)]
    shown += [hide_credentials(f"cannot open ({url})"), address.hide(f"Failed to open '{url}'")]
    for text in shown:
        assert not [secret for secret in SECRETS[url] if secret in text], text
    assert "host" in address.shown or "/34@" in url


def test_what_a_library_says_about_a_user_is_hidden() -> None:
    address = parse("rtsp://keeper:pass%40word@host/x?token=abcdef")
    assert "keeper" not in address.hide("401 for keeper")
    assert "word" not in address.hide("401 for pass%40word, that is pass@word")
    assert "abcdef" not in address.hide("bad token abcdef")


def test_file_addresses() -> None:
    assert str(file_of_url("file:///a/b%20c.mp4")) == "/a/b c.mp4"
    assert file_of_url("/a/b.mp4") is None
    with pytest.raises(UsageError, match="another machine"):
        file_of_url("file://server/a.mp4")


def test_standard_input_is_read_once() -> None:
    only_one_stdin(["-", "a.jpg"])
    with pytest.raises(UsageError, match="more than once"):
        only_one_stdin(["-", "a.jpg", "-"])
