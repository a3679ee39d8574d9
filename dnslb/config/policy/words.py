"""The values of a probe's own keys: ports, paths, statuses, names, commands.

Whatever a probe puts on the wire or hands to the system later must fit there: it is held against that here, where
the operator can still mend it.  Pure: no I/O.
"""

from __future__ import annotations

import re
import warnings

from dnslb.config.policy.setting import parse_address
from dnslb.text.document import Document
from dnslb.text.yaml_tree import Node, ScalarNode, SequenceNode

_VISIBLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2
_FIELD = re.compile(r"[!-~]([\t -~]*[!-~])?")        # RFC 9110 §5.5, without its obsolete octets
_STATUSES = re.compile(r"([1-5]\d\d)(?:-([1-5]\d\d))?", re.ASCII)
_DNS_LABEL = re.compile(r"[!-\[\]-~]{1,63}")

# What a probe may ask for, and what it may be told (RFC 1035 §4.1.1; YXDOMAIN: RFC 6672 §2.2).
_RRTYPES = (
    "A", "AAAA", "CAA", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "SVCB", "TLSA",
    "TXT",
)  # fmt: skip
_RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "NOTAUTH")


def read_port(document: Document, node: Node) -> int | None:
    return document.number(node, 1, 65535)


def read_path(document: Document, node: Node) -> str | None:
    word = document.text(node)
    if word is None or (word.startswith("/") and _VISIBLE.fullmatch(word) and "#" not in word):
        return word
    document.report(node, f"{word} is no path", "begin it with /, and write odd characters as %20")
    return None


def read_host(document: Document, node: Node) -> str | None:
    word = document.text(node)
    if word is None or (_HOST.fullmatch(word) and ".." not in word) or parse_address(word):
        return word
    document.report(node, f"{word} is no host name", "write a name such as www.example.com, without port or final dot")
    return None


def read_method(document: Document, node: Node) -> str | None:
    word = document.text(node)
    if word is None or (_TOKEN.fullmatch(word) and word.upper() != "CONNECT"):
        return word
    document.report(node, f"{word} is no method that can be asked for", "write GET, HEAD, OPTIONS or POST")
    return None


def read_token(document: Document, node: Node) -> str | None:
    word = document.text(node)
    if word is None or _TOKEN.fullmatch(word):
        return word
    document.report(node, f"{word} is no name of a header", "write letters, digits and hyphens")
    return None


def read_headers(document: Document, node: Node) -> tuple[tuple[str, str], ...] | None:
    headers: dict[str, tuple[str, str]] = {}
    mistakes = len(document.problems)
    for word, key, value in document.entries(node, "headers"):
        text = document.text(value)
        if not _TOKEN.fullmatch(word):
            document.report(key, f"{word} is no name of a header", "write letters, digits and hyphens")
        elif word.lower() == "host":
            document.report(key, "the Host header has a key of its own", "write host: beside headers:")
        elif word.lower() in headers:
            document.report(key, f"{word} is given twice", "remove one of the two")
        elif text is not None and not _FIELD.fullmatch(text):
            document.report(value, f"what {word} has is no value of a header", "write it in one line of ASCII")
        elif text is not None:
            headers[word.lower()] = (word, text)
    return tuple(headers.values()) if len(document.problems) == mistakes else None


def read_statuses(document: Document, node: Node) -> tuple[tuple[int, int], ...] | None:
    ranges: list[tuple[int, int]] = []
    mistakes = len(document.problems)
    for word, item in _items(document, node):
        match = _STATUSES.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None:
            document.report(item, f"{word} is no status", "write one from 100 to 599, or a range such as 200-299")
        elif last < first:
            document.report(item, f"{word} is an empty range", f"write {last}-{first}")
        else:
            ranges.append((first, last))
    return tuple(ranges) if len(document.problems) == mistakes else None


def read_body(document: Document, node: Node) -> str | None:
    word = document.text(node)
    if word is None or _is_utf8(word):
        return word
    document.report(node, "the text is no Unicode", "remove its surrogates")
    return None


def read_expression(document: Document, node: Node) -> str | None:
    word = document.text(node)
    if word is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python will read otherwise
            re.compile(word)
    except (re.error, OverflowError, RecursionError) as error:
        reason = str(error) if not isinstance(error, RecursionError) else "it is nested too deeply"
        document.report(node, f"{word} does not compile: {reason}", "write a regular expression of Python's re")
        return None
    return word


def read_file_name(document: Document, node: Node) -> str | None:
    word = document.text(node)
    if word is None or ("\0" not in word and _is_utf8(word)):
        return word
    document.report(node, f"{word} is no file name", "write the path of a file of certificates (PEM)")
    return None


def read_dns_name(document: Document, node: Node) -> str | None:
    word = document.text(node)
    if word is None or word == ".":
        return word
    labels = word.removesuffix(".").split(".")
    # The wire form has a length octet for each label and for the root (RFC 1035 §3.1).
    if not all(map(_DNS_LABEL.fullmatch, labels)) or sum(map(len, labels)) + len(labels) + 1 > 255:
        document.report(node, f"{word} is no name to ask for", "write an absolute name such as example.com.")
        return None
    if not word.endswith("."):
        document.report(node, f"{word} is not absolute", f"write {word}.")
        return None
    return word


def read_rrtype(document: Document, node: Node) -> str | None:
    return _mnemonic(document, node, _RRTYPES)


def read_rcodes(document: Document, node: Node) -> tuple[str, ...] | None:
    rcodes = [_mnemonic(document, item, _RCODES) for _, item in _items(document, node)]
    known = tuple(rcode for rcode in rcodes if rcode is not None)
    return known if known and len(known) == len(rcodes) else None


def read_command(document: Document, node: Node) -> tuple[str, ...] | None:
    items = node.value if isinstance(node, SequenceNode) else [node]
    words = [str(item.value) if isinstance(item, ScalarNode) else None for item in items]
    if not words or not words[0]:
        document.report(node, "the program is missing", "write [/path/of/program, argument, ...]")
        return None
    mistakes = len(document.problems)
    for word, item in zip(words, items, strict=True):
        if word is None:
            document.report(item, "an argument is a list or mapping", "write one word, in quotes if it has brackets")
        elif "\0" in word or not _is_utf8(word):
            document.report(item, f"{word} is no argument", "remove NUL and surrogates")
    return tuple(word or "" for word in words) if len(document.problems) == mistakes else None


def _items(document: Document, node: Node) -> list[tuple[str, Node]]:
    """One word, or a list of at least one."""
    if isinstance(node, SequenceNode) and not node.value:
        document.report(node, "the list is empty", "write what is expected")
    return document.texts(node)


def _mnemonic(document: Document, node: Node, known: tuple[str, ...]) -> str | None:
    if isinstance(node, ScalarNode) and node.value.upper() in known:
        return str(node.value.upper())
    return document.choice(node, known)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
