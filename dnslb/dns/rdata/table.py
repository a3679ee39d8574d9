"""The formats of all record types that have one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dnslb.dns.mistake import Mistaken
from dnslb.dns.rdata.dnssec import ALGORITHM, BITMAP, BITMAP_OR_NONE, CERTIFICATE_TYPE, SCHEME, TIME
from dnslb.dns.rdata.field import INTERVAL, IPV4, IPV6, NAME, RRTYPE, U8, U16, U32, Rest, Word
from dnslb.dns.rdata.formats import Format
from dnslb.dns.rdata.gateway import AMTRELAY, HIP, IPSECKEY, PREFIXES
from dnslb.dns.rdata.loc import LOC
from dnslb.dns.rdata.octets import BASE64, EUI48, EUI64, HASH, HEX, LOCATOR, NSAP, SALT
from dnslb.dns.rdata.strings import LONG_STRING, STRING, STRINGS, TAG
from dnslb.dns.rdata.svcb import PARAMS
from dnslb.dns.rrtype import NUMBERS


def _length(kind_at: int, start: int, lengths: Mapping[int, int], what: str) -> Callable[[bytes], None]:
    """A check that the octets from ``start`` are as many as the kind, one octet at ``kind_at``, has; others pass."""

    def check(rdata: bytes) -> None:
        length = len(rdata) - start
        wanted = lengths.get(rdata[kind_at], length)
        if length != wanted:
            raise Mistaken(f"the {what} has {length} octets", f"type {rdata[kind_at]} has {wanted}: copy it whole")

    return check


_DIGEST = _length(3, 4, {1: 20, 2: 32, 3: 32, 4: 48}, "digest")  # RFC 3658, 4509, 5933, 6605
_FINGERPRINT = _length(1, 2, {1: 20, 2: 32}, "fingerprint")  # RFC 4255 §3.1.2, 6594
_ZONE_DIGEST = _length(5, 6, {1: 48, 2: 64}, "digest")  # RFC 8976 §2.2.3


def _check_psdn(rdata: bytes) -> None:
    if len(rdata) < 5 or not rdata[1:].isdigit():
        raise Mistaken("the PSDN address is no number", "write four or more digits (RFC 1183 §3.1)")


def _check_isdn(rdata: bytes) -> None:
    if len(STRINGS.read(rdata, 0)) > 2:
        raise Mistaken("the ISDN record has more than two strings", "write an address and a subaddress (RFC 1183 §3.2)")


_HOST = (("host name", NAME),)
_PREFERRED_HOST = (("preference", U16), ("host name", NAME))
_TWO_NAMES = (("first name", NAME), ("second name", NAME))
_STRINGS = (("strings", STRINGS),)
_KEY = (("flags", U16), ("protocol", U8), ("algorithm", ALGORITHM), ("public key", BASE64))
_DELEGATION = (("key tag", U16), ("algorithm", ALGORITHM), ("digest type", U8), ("digest", HEX))
_CERTIFICATE = (
    ("certificate usage", U8),
    ("selector", U8),
    ("matching type", U8),
    ("certificate association data", HEX),
)
_SIGNATURE = (
    ("type covered", RRTYPE),
    ("algorithm", ALGORITHM),
    ("labels", U8),
    ("original TTL", INTERVAL),
    ("expiration", TIME),
    ("inception", TIME),
    ("key tag", U16),
    ("signer's name", NAME),
    ("signature", BASE64),
)
_SERVICE = (("SvcPriority", U16), ("TargetName", NAME), ("SvcParams", PARAMS))
_SOA = (
    ("primary server", NAME),
    ("mailbox", NAME),
    ("serial", U32),
    ("refresh", INTERVAL),
    ("retry", INTERVAL),
    ("expire", INTERVAL),
    ("minimum", INTERVAL),
)
_NAPTR = (
    ("order", U16),
    ("preference", U16),
    ("flags", STRING),
    ("services", STRING),
    ("regular expression", STRING),
    ("replacement", NAME),
)
_NSEC3PARAM = (("hash algorithm", U8), ("flags", U8), ("iterations", U16), ("salt", SALT))

_FIELDS: Mapping[str, tuple[tuple[str, Word | Rest], ...]] = {
    "A": (("address", IPV4),),
    "AAAA": (("address", IPV6),),
    "NS": _HOST,
    "CNAME": _HOST,
    "PTR": _HOST,
    "DNAME": _HOST,
    "MD": _HOST,
    "MF": _HOST,
    "MB": _HOST,
    "MG": _HOST,
    "MR": _HOST,
    "NSAP-PTR": _HOST,
    "MX": _PREFERRED_HOST,
    "AFSDB": _PREFERRED_HOST,
    "RT": _PREFERRED_HOST,
    "KX": _PREFERRED_HOST,
    "LP": _PREFERRED_HOST,
    "MINFO": _TWO_NAMES,
    "RP": _TWO_NAMES,
    "TALINK": _TWO_NAMES,
    "PX": (("preference", U16), ("MAP822 name", NAME), ("MAPX400 name", NAME)),
    "SOA": _SOA,
    "SRV": (("priority", U16), ("weight", U16), ("port", U16), ("target", NAME)),
    "NAPTR": _NAPTR,
    "TXT": _STRINGS,
    "SPF": _STRINGS,
    "AVC": _STRINGS,
    "NINFO": _STRINGS,
    "RESINFO": _STRINGS,
    "HINFO": (("CPU", STRING), ("OS", STRING)),
    "X25": (("PSDN address", STRING),),
    "ISDN": (("ISDN address and subaddress", STRINGS),),
    "GPOS": (("longitude", STRING), ("latitude", STRING), ("altitude", STRING)),
    "NSAP": (("NSAP address", NSAP),),
    "EID": (("endpoint identifier", HEX),),
    "NIMLOC": (("Nimrod locator", HEX),),
    "LOC": (("latitude, longitude, altitude", LOC),),
    "CAA": (("flags", U8), ("tag", TAG), ("value", LONG_STRING)),
    "URI": (("priority", U16), ("weight", U16), ("target", LONG_STRING)),
    "SVCB": _SERVICE,
    "HTTPS": _SERVICE,
    "APL": (("prefixes", PREFIXES),),
    "NID": (("preference", U16), ("node identifier", LOCATOR)),
    "L32": (("preference", U16), ("locator", IPV4)),
    "L64": (("preference", U16), ("locator", LOCATOR)),
    "EUI48": (("address", EUI48),),
    "EUI64": (("address", EUI64),),
    "DS": _DELEGATION,
    "CDS": _DELEGATION,
    "DLV": _DELEGATION,
    "TA": _DELEGATION,
    "KEY": _KEY,
    "RKEY": _KEY,
    "DNSKEY": _KEY,
    "CDNSKEY": _KEY,
    "RRSIG": _SIGNATURE,
    "SIG": _SIGNATURE,
    "NSEC": (("next name", NAME), ("types", BITMAP)),
    "NSEC3": (*_NSEC3PARAM, ("next hashed name", HASH), ("types", BITMAP_OR_NONE)),
    "NSEC3PARAM": _NSEC3PARAM,
    "CSYNC": (("serial", U32), ("flags", U16), ("types", BITMAP_OR_NONE)),
    "ZONEMD": (("serial", U32), ("scheme", U8), ("hash algorithm", U8), ("digest", HEX)),
    "TLSA": _CERTIFICATE,
    "SMIMEA": _CERTIFICATE,
    "SSHFP": (("algorithm", U8), ("fingerprint type", U8), ("fingerprint", HEX)),
    "CERT": (("type", CERTIFICATE_TYPE), ("key tag", U16), ("algorithm", ALGORITHM), ("certificate", BASE64)),
    "OPENPGPKEY": (("public key", BASE64),),
    "DHCID": (("digest", BASE64),),
    "DSYNC": (("type", RRTYPE), ("scheme", SCHEME), ("port", U16), ("target", NAME)),
    "AMTRELAY": (("precedence", U8), ("discovery, type, relay", AMTRELAY)),
    "IPSECKEY": (("precedence", U8), ("gateway type, algorithm, gateway, public key", IPSECKEY)),
    "HIP": (("algorithm, identity tag, public key, rendezvous servers", HIP),),
}
_CHECKS: Mapping[str, Callable[[bytes], None]] = {
    "X25": _check_psdn,
    "ISDN": _check_isdn,
    "DS": _DIGEST,
    "CDS": _DIGEST,
    "DLV": _DIGEST,
    "TA": _DIGEST,
    "SSHFP": _FINGERPRINT,
    "ZONEMD": _ZONE_DIGEST,
}

FORMATS: Mapping[int, Format] = {
    NUMBERS[mnemonic]: Format(NUMBERS[mnemonic], fields, _CHECKS.get(mnemonic)) for mnemonic, fields in _FIELDS.items()
}
