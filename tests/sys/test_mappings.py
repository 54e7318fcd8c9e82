"""Giving mapped files back, seen in /proc and by using everything afterwards."""

from __future__ import annotations


def test_clean_pages_of_files_are_let_go_and_come_back(python):
    """Less is resident, by about what is said, and all code and all tables still work."""
    out = python(
        "import ssl, sqlite3, ctypes, decimal, zlib\n"
        "from leeward._sys.mappings import unmap_clean_files\n"
        "def rss():\n"
        "    text = open('/proc/self/smaps_rollup').read()\n"
        "    return int(text.partition('Rss:')[2].split()[0]) * 1024\n"
        "rss()\n"
        "before = rss()\n"
        "released = unmap_clean_files()\n"
        "fell = before - rss()\n"
        # What the reading itself touched has come back already.
        "print(released > 2**20, released >= fell > released / 3)\n"
        "ssl.create_default_context()\n"
        "assert sqlite3.connect(':memory:').execute('select 6 * 7').fetchone() == (42,)\n"
        "assert zlib.decompress(zlib.compress(b'x' * 9999)) == b'x' * 9999\n"
        "print(decimal.Decimal(2).sqrt(decimal.Context(6)))"
    )
    assert out.split("\n") == ["True True", "1.41421"]


def test_a_page_that_was_written_stays(python):
    """A read-only private mapping that was written before keeps what was written."""
    out = python(
        "import ctypes, mmap, os, sys, tempfile\n"
        "from leeward._sys.mappings import unmap_clean_files\n"
        "file = tempfile.TemporaryFile()\n"
        "file.write(b'file' * 4096)\n"
        "file.flush()\n"
        "area = mmap.mmap(file.fileno(), 16384, mmap.MAP_PRIVATE)\n"
        "area[:4] = b'ours'\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(area))\n"
        "libc = ctypes.CDLL(None)\n"
        "span = ctypes.c_void_p(address), ctypes.c_size_t(16384)\n"
        "assert libc.mprotect(*span, mmap.PROT_READ) == 0\n"
        "unmap_clean_files()\n"
        "print(area[:8])"
    )
    assert out == "b'oursfile'"
