"""Finding, checking and downloading files; the damaged and the missing ones are refused with the way out."""

import functools
import http.server
import threading

import pytest

from squat.data import sources
from squat.data.sources import find, folders, locate

CONTENT = b"event data" * 100


@pytest.fixture
def server(tmp_path):
    """The address of a local server whose folder holds `file.npz`."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file.npz").write_bytes(CONTENT)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def place(folder, content=CONTENT):
    path = folder / "set" / "file.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_named_folder_comes_before_the_cache(data_folder, cache, source_of):
    source = source_of("set/file.npz", CONTENT)
    assert find(source) is None
    cached = place(cache)
    assert locate(source) == find(source) == cached
    named = place(data_folder)
    assert locate(source) == find(source) == named


def test_a_data_folder_that_is_none_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("SQUAT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"SQUAT_DATA='.*nowhere': not a folder; set it to the folder with the data"):
        folders()


def test_a_file_without_address_is_refused_with_its_place(no_data, cache, source_of):
    with pytest.raises(
        ValueError, match=r"file.npz: not found .* has no public address; put it at .*cache/set/file.npz, "
    ):
        locate(source_of("set/file.npz", CONTENT))
    with pytest.raises(
        ValueError, match=r"or at set/file.npz below a folder of yours and set SQUAT_DATA to that folder"
    ):
        locate(source_of("set/file.npz", CONTENT))


def test_a_truncated_file_is_refused(data_folder, source_of):
    path = place(data_folder, CONTENT[:-1])
    with pytest.raises(ValueError, match=rf"{path}: truncated: 999 bytes, expected 1000; copy it again from where"):
        locate(source_of("set/file.npz", CONTENT))
    with pytest.raises(ValueError, match=r"expected 1000; delete it and it is downloaded again"):
        locate(source_of("set/file.npz", CONTENT, url="http://example.org/file.npz"))


def test_another_file_is_refused(data_folder, source_of):
    place(data_folder, CONTENT + b"more")
    with pytest.raises(ValueError, match=r"file.npz: not the expected file: 1004 bytes, expected 1000"):
        locate(source_of("set/file.npz", CONTENT))


def test_a_damaged_file_is_refused_with_both_checksums(data_folder, source_of):
    source = source_of("set/file.npz", CONTENT)
    damaged = b"E" + CONTENT[1:]
    place(data_folder, damaged)
    got = source_of("", damaged).sha256
    with pytest.raises(ValueError, match=rf"file.npz: damaged: its SHA-256 is {got}, expected {source.sha256}; copy"):
        locate(source)


def test_a_file_with_an_address_is_downloaded_once(no_data, cache, server, source_of):
    source = source_of("set/file.npz", CONTENT, url=f"{server}/file.npz")
    path = locate(source)
    assert path == cache / "set" / "file.npz"
    assert path.read_bytes() == CONTENT
    assert locate(source_of("set/file.npz", CONTENT, url="http://127.0.0.1:9/gone")) == path
    assert [item.name for item in path.parent.iterdir()] == ["file.npz"]


def test_a_download_with_another_checksum_is_not_kept(no_data, cache, server, source_of):
    with pytest.raises(
        ValueError, match=r"file.npz: download from http.* failed \(.*hash.*\); put it at .*cache/set/file"
    ):
        locate(source_of("set/file.npz", b"other", url=f"{server}/file.npz"))
    assert not (cache / "set" / "file.npz").exists()


def test_a_download_that_fails_says_where_to_put_the_file(no_data, server, source_of):
    with pytest.raises(
        ValueError, match=r"file.npz: download from .*/gone failed \(404.*\); put it at .*set SQUAT_DATA"
    ):
        locate(source_of("set/file.npz", CONTENT, url=f"{server}/gone"))


def test_the_cache_is_a_folder_of_the_platform(monkeypatch):
    monkeypatch.undo()
    assert sources.cache_folder().name == "squat"
