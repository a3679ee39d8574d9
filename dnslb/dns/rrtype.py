"""Numbers with names: record types, classes, opcodes and response codes, by the IANA registry."""

from __future__ import annotations

A, NS, CNAME, SOA, PTR, HINFO, MX, TXT = 1, 2, 5, 6, 12, 13, 15, 16
AAAA, SRV, NAPTR, DNAME, OPT, DS, RRSIG, NSEC = 28, 33, 35, 39, 41, 43, 46, 47
SVCB, HTTPS, TSIG, IXFR, AXFR, ANY = 64, 65, 250, 251, 252, 255

NUMBERS = {
    "A": A, "NS": NS, "MD": 3, "MF": 4, "CNAME": CNAME, "SOA": SOA, "MB": 7, "MG": 8, "MR": 9, "NULL": 10, "WKS": 11,
    "PTR": PTR, "HINFO": HINFO, "MINFO": 14, "MX": MX, "TXT": TXT, "RP": 17, "AFSDB": 18, "X25": 19, "ISDN": 20,
    "RT": 21, "NSAP": 22, "NSAP-PTR": 23, "SIG": 24, "KEY": 25, "PX": 26, "GPOS": 27, "AAAA": AAAA, "LOC": 29,
    "NXT": 30, "EID": 31, "NIMLOC": 32, "SRV": SRV, "ATMA": 34, "NAPTR": NAPTR, "KX": 36, "CERT": 37, "A6": 38,
    "DNAME": DNAME, "SINK": 40, "OPT": OPT, "APL": 42, "DS": DS, "SSHFP": 44, "IPSECKEY": 45, "RRSIG": RRSIG,
    "NSEC": NSEC, "DNSKEY": 48, "DHCID": 49, "NSEC3": 50, "NSEC3PARAM": 51, "TLSA": 52, "SMIMEA": 53, "HIP": 55,
    "NINFO": 56, "RKEY": 57, "TALINK": 58, "CDS": 59, "CDNSKEY": 60, "OPENPGPKEY": 61, "CSYNC": 62, "ZONEMD": 63,
    "SVCB": SVCB, "HTTPS": HTTPS, "DSYNC": 66, "SPF": 99, "NID": 104, "L32": 105, "L64": 106, "LP": 107, "EUI48": 108,
    "EUI64": 109, "TKEY": 249, "TSIG": TSIG, "IXFR": IXFR, "AXFR": AXFR, "MAILB": 253, "MAILA": 254, "ANY": ANY,
    "URI": 256, "CAA": 257, "AVC": 258, "DOA": 259, "AMTRELAY": 260, "RESINFO": 261, "TA": 32768, "DLV": 32769,
}  # fmt: skip
_MNEMONICS = {number: mnemonic for mnemonic, number in NUMBERS.items()}
ADDRESS_TYPES = {4: A, 6: AAAA}  # by IP version

IN, CH, NONE_CLASS, ANY_CLASS = 1, 3, 254, 255
CLASSES = {"IN": IN, "CH": CH, "HS": 4}

QUERY, IQUERY, STATUS, NOTIFY, UPDATE = 0, 1, 2, 4, 5

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN, NOTAUTH, BADVERS = 0, 1, 2, 3, 4, 5, 6, 9, 16
YXRRSET, NXRRSET, NOTZONE, BADCOOKIE = 7, 8, 10, 23
RCODES = {
    NOERROR: "NOERROR", FORMERR: "FORMERR", SERVFAIL: "SERVFAIL", NXDOMAIN: "NXDOMAIN", NOTIMP: "NOTIMP",
    REFUSED: "REFUSED", YXDOMAIN: "YXDOMAIN", YXRRSET: "YXRRSET", NXRRSET: "NXRRSET", NOTAUTH: "NOTAUTH",
    NOTZONE: "NOTZONE", BADVERS: "BADVERS", BADCOOKIE: "BADCOOKIE",
}  # fmt: skip


def is_meta(rrtype: int) -> bool:
    """Whether the type may only be asked for, never stored: OPT and 128 to 255 (RFC 6895 §3.1)."""
    return rrtype == OPT or 128 <= rrtype <= 255


def text(rrtype: int) -> str:
    """The mnemonic, or ``TYPEnnn`` (RFC 3597 §5)."""
    return _MNEMONICS.get(rrtype) or f"TYPE{rrtype}"


def address_text(version: int) -> str:
    """The mnemonic of the type that holds addresses of this IP version, 4 or 6."""
    return text(ADDRESS_TYPES[version])


def parse(word: str) -> int | None:
    """The number of a mnemonic or of ``TYPEnnn``, in any case; None when the word names no type."""
    word = word.upper()
    if word in NUMBERS:
        return NUMBERS[word]
    number = word[4:]
    if word.startswith("TYPE") and number.isascii() and number.isdigit() and len(number) < 10 and int(number) < 65536:
        return int(number)
    return None


def parse_class(word: str) -> int | None:
    """The number of a class mnemonic or of ``CLASSnnn`` (RFC 3597 §5), in any case; None when it names none."""
    word = word.upper()
    if word in CLASSES:
        return CLASSES[word]
    number = word[5:]
    if word.startswith("CLASS") and number.isascii() and number.isdigit() and len(number) < 10 and int(number) < 65536:
        return int(number)
    return None
