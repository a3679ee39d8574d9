"""Record data: words in, octets out, and back; checked against dnspython, and by hand against BIND, NSD and Knot."""

from __future__ import annotations

import dns.exception
import dns.name
import dns.rdata
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnslb.dns import name, rdata, rrtype
from dnslb.dns.mistake import Mistaken
from dnslb.dns.rdata.table import FORMATS

ORIGIN = name.parse("example.com.", name.ROOT)

KEY = "AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ=="
ED25519 = "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4="
HASH = "2VPTU5TIMAMQTTGL4LUU9KG21E0AOR3S"
HIT = "200100107B1A74DF365639CC39F1D578"
SHA1, SHA256, SHA384, SHA512 = "00" * 20, "ab" * 32, "cd" * 48, "ef" * 64
A63, X255 = "a" * 63, "x" * 255

# Remedies that several mistakes share.
PLACE = "write 52 22 23 N 4 53 32 E -2m 0m 10000m 10m: degrees, minutes, seconds, altitude, size, precisions"
KEYS = (
    "write one of mandatory, alpn, no-default-alpn, port, ipv4hint, ech, ipv6hint, dohpath, ohttp, "
    "or key and a number up to 65535"
)
MEND = "; mend them, or write the record in its own syntax"

# Records as we print them.
CANONICAL = [
    "A 192.0.2.1",
    "A 0.0.0.0",
    "AAAA 2001:db8::1",
    "AAAA ::ffff:192.0.2.1",
    "AAAA ::",
    "NS ns1.example.net.",
    r"NS *.a\.b.example.",
    "CNAME WWW.Example.COM.",
    "CNAME .",
    "DNAME target.example.",
    "NSAP-PTR foo.",
    "MX 0 .",
    "RP . .",
    "SRV 0 0 0 .",
    'NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" .',
    r'NAPTR 100 10 "u" "E2U+sip" "!^(\\d+)$!sip:\\1@example.com!" .',
    r'NAPTR 100 10 "" "" "/urn:cid:.+@([^\\.]+\\.)(.*)$/\\2/i" .',
    'TXT "v=spf1 -all"',
    'TXT ""',
    r'TXT "a\"b\\c"',
    r'TXT "\000\255"',
    'TXT "semi;colon"',
    'SPF "v=spf1 -all"',
    'AVC "app-name:WOLFGANG"',
    'NINFO "foo"',
    'HINFO "PC" "Linux"',
    "EID 1289",
    "NIMLOC 1289",
    'CAA 0 issue "letsencrypt.org"',
    'CAA 0 issue ";"',
    'CAA 128 issuewild "ca.example.net; account=230123"',
    'CAA 0 iodef "mailto:security@example.com"',
    'CAA 0 tbs "Unknown"',
    'CAA 0 issue ""',
    r'CAA 0 issue "\"\\"',
    'CAA 255 issue ";"',
    'URI 10 1 "ftp://ftp1.example.com/public"',
    'URI 10 1 ""',
    "SVCB 0 foo.example.com.",
    "SVCB 0 .",
    "SVCB 1 .",
    "SVCB 16 foo.example.com. port=53",
    'HTTPS 1 . alpn="h2,h3" port=8443 ipv4hint=192.0.2.1,192.0.2.2 ech=AEP+DQA= ipv6hint=2001:db8::1',
    "HTTPS 1 . key100",
    "APL 1:192.0.2.0/24 !1:192.0.2.64/28 2:2001:db8::/32",
    "APL 1:192.0.2.1/24",
    "APL 1:0.0.0.0/0",
    "NID 10 0014:4fff:ff20:ee64",
    "L32 10 10.1.2.0",
    "L64 10 2001:0db8:1140:1000",
    "EUI48 00-00-5e-00-53-2a",
    "EUI64 00-00-5e-ef-10-00-00-2a",
    "CDS 0 0 0 00",
    f"DNSKEY 256 3 5 {KEY}",
    f"DNSKEY 257 4 15 {ED25519}",
    "DNSKEY 257 3 15 AQ==",
    f"DNSKEY 257 3 8 {KEY}",
    f"CDNSKEY 257 3 15 {ED25519}",
    "CDNSKEY 0 3 0 AA==",
    f"KEY 512 3 1 {KEY}",
    f"RKEY 0 3 1 {KEY}",
    f"RRSIG A 5 3 86400 20030322173103 20030220173103 2642 example.com. {KEY}",
    f"SIG A 5 3 86400 20030322173103 20030220173103 2642 example.com. {KEY}",
    "NSEC host.example.com. A MX RRSIG NSEC TYPE1234",
    f"NSEC3 1 1 12 - {HASH} A",
    "NSEC3PARAM 1 0 0 -",
    "CSYNC 66 3 A NS AAAA",
    "CSYNC 66 3",
    f"TLSA 3 1 1 {SHA1}",
    f"SMIMEA 3 1 1 {SHA1}",
    f"CERT 1 65535 8 {KEY}",
    f"OPENPGPKEY {KEY}",
    "DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",
    f"IPSECKEY 10 1 2 192.0.2.38 {KEY}",
    "AMTRELAY 10 0 1 203.0.113.15",
    "AMTRELAY 10 0 2 2001:db8::15",
    "AMTRELAY 10 1 0 .",
    "AMTRELAY 128 1 3 amtrelays.example.com.",
    'RESINFO "qnamemin" "exterr=15-17"',
    "DSYNC CDS 1 5359 scanner.example.net.",
    'HTTPS 1 . alpn="h2" ohttp',
    f"IPSECKEY 10 0 2 . {KEY}",
    f"IPSECKEY 10 3 2 mygateway.example.com. {KEY}",
    f"HIP 2 {HIT} {KEY}",
    r"TYPE65280 \# 0",
    "TYPE1 192.0.2.1",
    r"NULL \# 1 00",
    r"APL \# 6 000318020101",
    f'CAA 0 issue "{X255}x"',
    f'URI 1 1 "{X255}x"',
    f"NSEC3 1 2 12 - {HASH} A",
    f"DNSKEY 256 3 253 {KEY}",
    f"DNSKEY 256 3 254 {KEY}",
    "APL 2:::/0",
    'NAPTR 1 1 "1" "" "" .',
    'NAPTR 1 1 "u" "" "!a!b!i" .',
    'NAPTR 1 1 "ab" "a+b" "" .',
    'NAPTR 1 1 "-" "a+b" "" .',
    r'SVCB 1 . alpn="a\\\\"',
    'SVCB 1 . alpn="h2 h3"',
    "SVCB 1 . ech=AAAA",
    'SVCB 1 . key100="a b;c"',
    f'SVCB 1 . key667="{X255}x"',
    'HINFO "" ""',
    f"DNAME {A63}.{A63}.{A63}.{'b' * 61}.",
    f"NSEC3PARAM 1 0 1 {'AB' * 255}",
]

# Records written otherwise, and as we print them.
OTHERWISE = [
    (r"A \# 4 C0000201", "A 192.0.2.1"),
    ("AAAA 2001:DB8:0:0:0:0:0:1", "AAAA 2001:db8::1"),
    ("NS ns1", "NS ns1.example.com."),
    ("PTR a.b", "PTR a.b.example.com."),
    ("MD m", "MD m.example.com."),
    ("MF m", "MF m.example.com."),
    ("MB m", "MB m.example.com."),
    ("MG m", "MG m.example.com."),
    ("MR m", "MR m.example.com."),
    ("MX 10 mail", "MX 10 mail.example.com."),
    ("MX 010 mail", "MX 10 mail.example.com."),
    ("AFSDB 1 afs", "AFSDB 1 afs.example.com."),
    ("RT 10 relay", "RT 10 relay.example.com."),
    ("KX 10 kx", "KX 10 kx.example.com."),
    ("LP 10 l64", "LP 10 l64.example.com."),
    ("PX 10 map822 mapx400", "PX 10 map822.example.com. mapx400.example.com."),
    ("MINFO a b", "MINFO a.example.com. b.example.com."),
    ("RP admin txt", "RP admin.example.com. txt.example.com."),
    ("TALINK a b", "TALINK a.example.com. b.example.com."),
    ("SRV 0 5 5060 sip", "SRV 0 5 5060 sip.example.com."),
    ('NAPTR 100 50 "s" "http+I2L+I2C+I2R" "" _http._tcp',
     'NAPTR 100 50 "s" "http+I2L+I2C+I2R" "" _http._tcp.example.com.'),
    ('NAPTR 100 10 u E2U+sip "" .', 'NAPTR 100 10 "u" "E2U+sip" "" .'),
    ('TXT a b "c d"', 'TXT "a" "b" "c d"'),
    (r"TXT bare\;semi", 'TXT "bare;semi"'),
    (r"TXT bare\032blank", 'TXT "bare blank"'),
    ('TXT "tab\tinside"', r'TXT "tab\009inside"'),
    ("HINFO PC Linux", 'HINFO "PC" "Linux"'),
    ("X25 311061700956", 'X25 "311061700956"'),
    ("ISDN 150862028003217 004", 'ISDN "150862028003217" "004"'),
    ("GPOS -32.6882 116.8652 10.0", 'GPOS "-32.6882" "116.8652" "10.0"'),
    ("NSAP 0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00", "NSAP 0x47000580005a0000000001e133ffffff00016100"),
    ("LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
     "LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000.00m 10.00m"),
    ("LOC 52 N 4 E 0m", "LOC 52 0 0.000 N 4 0 0.000 E 0.00m 1.00m 10000.00m 10.00m"),
    ("LOC 52 N 4 E 0", "LOC 52 0 0.000 N 4 0 0.000 E 0.00m 1.00m 10000.00m 10.00m"),
    ("LOC 52 22 N 4 53 E 100m 1m", "LOC 52 22 0.000 N 4 53 0.000 E 100.00m 1.00m 10000.00m 10.00m"),
    ("LOC 52 22 23.5 S 4 53 32.123 W -100000.00 90000000.00m 0.01m 10",
     "LOC 52 22 23.500 S 4 53 32.123 W -100000.00m 90000000.00m 0.01m 10.00m"),
    ("LOC 90 0 0 N 180 0 0 W 42849672.95m", "LOC 90 0 0.000 N 180 0 0.000 W 42849672.95m 1.00m 10000.00m 10.00m"),
    ("LOC 52 22 23 N 4 53 32 E 1.5m", "LOC 52 22 23.000 N 4 53 32.000 E 1.50m 1.00m 10000.00m 10.00m"),
    ("LOC 052 22 23 N 4 53 32 E 1m", "LOC 52 22 23.000 N 4 53 32.000 E 1.00m 1.00m 10000.00m 10.00m"),
    ("SVCB 1 foo key667=hello", 'SVCB 1 foo.example.com. key667="hello"'),
    (r'SVCB 1 foo key667="hello\210qoo"', r'SVCB 1 foo.example.com. key667="hello\210qoo"'),
    ('SVCB 1 foo ipv6hint="2001:db8::1,2001:db8::53:1"', "SVCB 1 foo.example.com. ipv6hint=2001:db8::1,2001:db8::53:1"),
    ("SVCB 1 foo ipv6hint=2001:db8:122:344::192.0.2.33", "SVCB 1 foo.example.com. ipv6hint=2001:db8:122:344::c000:221"),
    ("SVCB 16 foo alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1",
     'SVCB 16 foo.example.com. mandatory=alpn,ipv4hint alpn="h2,h3-19" ipv4hint=192.0.2.1'),
    (r'SVCB 16 foo alpn="f\\\\oo\\,bar,h2"', r'SVCB 16 foo.example.com. alpn="f\\\\oo\\,bar,h2"'),
    (r"SVCB 16 foo alpn=f\\\092oo\092,bar,h2", r'SVCB 16 foo.example.com. alpn="f\\\\oo\\,bar,h2"'),
    ("HTTPS 1 . alpn=h2 no-default-alpn", 'HTTPS 1 . alpn="h2" no-default-alpn'),
    (r"HTTPS 1 . key1=\002h2", 'HTTPS 1 . alpn="h2"'),
    ("HTTPS 1 . key3=53", "HTTPS 1 . port=13619"),
    ("HTTPS 1 . key65535=a", 'HTTPS 1 . key65535="a"'),
    ("HTTPS 1 . key65534=a", 'HTTPS 1 . key65534="a"'),
    ('HTTPS 1 . port="53"', "HTTPS 1 . port=53"),
    ("HTTPS 1 . port=053", "HTTPS 1 . port=53"),
    ("HTTPS 0 foo. alpn=h2", 'HTTPS 0 foo. alpn="h2"'),
    ('HTTPS 1 . key7="/dns-query{?dns}"', 'HTTPS 1 . dohpath="/dns-query{?dns}"'),
    ("L64 10 2001:0DB8:1140:1000", "L64 10 2001:0db8:1140:1000"),
    ("EUI48 00-00-5E-00-53-2A", "EUI48 00-00-5e-00-53-2a"),
    ("DS 60485 5 1 2BB183AF5F22588179A53B0A 98631FAD1A292118", "DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"),
    (f"DS 12345 ECDSAP256SHA256 2 {SHA256}", f"DS 12345 13 2 {SHA256.upper()}"),
    (f"DS 12345 13 4 {SHA384}", f"DS 12345 13 4 {SHA384.upper()}"),
    (f"CDS 12345 13 2 {SHA256}", f"CDS 12345 13 2 {SHA256.upper()}"),
    (f"DLV 12345 13 2 {SHA256}", f"DLV 12345 13 2 {SHA256.upper()}"),
    (f"TA 12345 13 2 {SHA256}", f"TA 12345 13 2 {SHA256.upper()}"),
    (f"DNSKEY 257 3 ED25519 {ED25519}", f"DNSKEY 257 3 15 {ED25519}"),
    ("DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpB oRQwAQEX1SxZJA4=", f"DNSKEY 257 3 15 {ED25519}"),
    (f"RRSIG A 5 3 86400 1048354263 1045762263 2642 example.com. {KEY}",
     f"RRSIG A 5 3 86400 20030322173103 20030220173103 2642 example.com. {KEY}"),
    (f"RRSIG TYPE65280 5 3 86400 20030322173103 20030220173103 2642 @ {KEY}",
     f"RRSIG TYPE65280 5 3 86400 20030322173103 20030220173103 2642 example.com. {KEY}"),
    ("NSEC host.example.com. A A", "NSEC host.example.com. A"),
    ("NSEC host A", "NSEC host.example.com. A"),
    ("NSEC3 1 1 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s A RRSIG", f"NSEC3 1 1 12 AABBCCDD {HASH} A RRSIG"),
    ("NSEC3 1 1 12 - 2vptu5timamqttgl4luu9kg21e0aor3s", f"NSEC3 1 1 12 - {HASH}"),
    ("NSEC3PARAM 1 0 12 aabbccdd", "NSEC3PARAM 1 0 12 AABBCCDD"),
    (f"ZONEMD 2018031500 1 1 {SHA384}", f"ZONEMD 2018031500 1 1 {SHA384.upper()}"),
    (f"ZONEMD 2018031500 1 2 {SHA512}", f"ZONEMD 2018031500 1 2 {SHA512.upper()}"),
    (f"ZONEMD 2018031500 1 240 {SHA256}", f"ZONEMD 2018031500 1 240 {SHA256.upper()}"),
    (f"TLSA 3 1 1 {SHA256}", f"TLSA 3 1 1 {SHA256.upper()}"),
    (f"TLSA 3 1 2 {SHA512}", f"TLSA 3 1 2 {SHA512.upper()}"),
    ("TLSA 3 0 0 3082abcd", "TLSA 3 0 0 3082ABCD"),
    ("TLSA 3 1 1 d2abde240d7cd3ee6b4b28c54df034b9 7983a1d16e8a410e4561cb106618e971",
     "TLSA 3 1 1 D2ABDE240D7CD3EE6B4B28C54DF034B97983A1D16E8A410E4561CB106618E971"),
    ("SMIMEA 3 0 0 3082abcd", "SMIMEA 3 0 0 3082ABCD"),
    ("SSHFP 2 1 123456789abcdef67890123456789abcdef67890", "SSHFP 2 1 123456789ABCDEF67890123456789ABCDEF67890"),
    (f"SSHFP 4 2 {SHA256}", f"SSHFP 4 2 {SHA256.upper()}"),
    ("SSHFP 4 3 abcd", "SSHFP 4 3 ABCD"),
    (f"CERT PKIX 65535 RSASHA256 {KEY}", f"CERT 1 65535 8 {KEY}"),
    (f"CERT PGP 0 0 {KEY}", f"CERT 3 0 0 {KEY}"),
    (f"OPENPGPKEY {KEY[:8]} {KEY[8:]}", f"OPENPGPKEY {KEY}"),
    (f"IPSECKEY 10 2 2 2001:0DB8:0:8002::2000:1 {KEY}", f"IPSECKEY 10 2 2 2001:db8:0:8002::2000:1 {KEY}"),
    (r"TYPE65280 \# 3 abcdef", r"TYPE65280 \# 3 ABCDEF"),
    (r"TYPE65280 \# 3 ab cd ef", r"TYPE65280 \# 3 ABCDEF"),
    (r"TXT \# 2 0161", 'TXT "a"'),
    (r"NS \# 3 016100", "NS a."),
    (r"LOC \# 16 00121012800000008000000000989680", "LOC 0 0 0.000 N 0 0 0.000 E 0.00m 1.00m 0.01m 1.00m"),
    (r"SVCB \# 3 000100", "SVCB 1 ."),
    (r"SVCB \# 9 000100000300020035", "SVCB 1 . port=53"),
    (r"CAA \# 4 0001612d", 'CAA 0 a "-"'),
    (r"NSEC \# 6 016100000140", "NSEC a. A"),
    (r"APL \# 5 0001180101", "APL 1:1.0.0.0/24"),
    (r"NSEC3PARAM \# 5 0100000000", "NSEC3PARAM 1 0 0 -"),
    ("SOA ns1 host 1 2 3 4 5", "SOA ns1.example.com. host.example.com. 1 2 3 4 5"),
    ("SOA ns1 host 4294967295 1h30m 1w2d 1W 1s",
     "SOA ns1.example.com. host.example.com. 4294967295 5400 777600 604800 1"),
    ("SOA ns1 host 1 2147483647 1 1 1", "SOA ns1.example.com. host.example.com. 1 2147483647 1 1 1"),
    ("SOA ns1 host 1 2147483648 1 1 1", "SOA ns1.example.com. host.example.com. 1 2147483648 1 1 1"),
    ("SOA ns1 host 1 4294967295 1 1 1", "SOA ns1.example.com. host.example.com. 1 4294967295 1 1 1"),
    ("SOA ns1 host 1 1 1 1 2147483648", "SOA ns1.example.com. host.example.com. 1 1 1 1 2147483648"),
    ("SOA ns1 host 1 3550w 1 1 1", "SOA ns1.example.com. host.example.com. 1 2147040000 1 1 1"),
    ("SOA ns1 host 1 3551w 1 1 1", "SOA ns1.example.com. host.example.com. 1 2147644800 1 1 1"),
    ("SOA ns1 host 1 1m1h 1 1 1", "SOA ns1.example.com. host.example.com. 1 3660 1 1 1"),
    ("CAA 00 issue a", 'CAA 0 issue "a"'),
    (r'TXT \"', r'TXT "\""'),
    (r"TXT \\", r'TXT "\\"'),
    (r'TXT "\#" 2 0161', 'TXT "#" "2" "0161"'),
    (r"A \# 04 C0000201", "A 192.0.2.1"),
    (r"A \# 4 c0 00 02 01", "A 192.0.2.1"),
    ("MX 00000000000001 mail", "MX 1 mail.example.com."),
    ("NSEC a a mx", "NSEC a.example.com. A MX"),
    ("NSEC a type65535", "NSEC a.example.com. TYPE65535"),
    ("NSEC a TYPE1", "NSEC a.example.com. A"),
    ("NSEC a TYPE01", "NSEC a.example.com. A"),
    (f"DNSKEY 256 3 rsasha256 {KEY}", f"DNSKEY 256 3 8 {KEY}"),
    (f"DNSKEY 256 3 DSA {KEY}", f"DNSKEY 256 3 3 {KEY}"),
    (f"DNSKEY 256 3 DH {KEY}", f"DNSKEY 256 3 2 {KEY}"),
    (f"DNSKEY 256 3 RSAMD5 {KEY}", f"DNSKEY 256 3 1 {KEY}"),
    (f"DNSKEY 256 3 PRIVATEDNS {KEY}", f"DNSKEY 256 3 253 {KEY}"),
    (f"DNSKEY 256 3 PRIVATEOID {KEY}", f"DNSKEY 256 3 254 {KEY}"),
    (f"DNSKEY 256 3 INDIRECT {KEY}", f"DNSKEY 256 3 252 {KEY}"),
    (f"DNSKEY 256 3 ED448 {KEY}", f"DNSKEY 256 3 16 {KEY}"),
    (f"DS 1 ecdsap256sha256 1 {SHA1}", f"DS 1 13 1 {SHA1}"),
    ("SSHFP 1 1 12345678 9abcdef67890123456789abcdef67890", "SSHFP 1 1 123456789ABCDEF67890123456789ABCDEF67890"),
    ("CERT URI 1 8 AQMF", "CERT 253 1 8 AQMF"),
    ("CERT OID 1 8 AQMF", "CERT 254 1 8 AQMF"),
    ("APL 1:192.0.2.0/024", "APL 1:192.0.2.0/24"),
    ("APL 2:2001:db8::1.2.3.4/128", "APL 2:2001:db8::102:304/128"),
    ("LOC 52 22 23.12 N 4 1 1.1 E 0.5m 10.25m 12m 99m", "LOC 52 22 23.120 N 4 1 1.100 E 0.50m 10.00m 10.00m 90.00m"),
    ("LOC 0 N 0 W 0m", "LOC 0 0 0.000 N 0 0 0.000 E 0.00m 1.00m 10000.00m 10.00m"),
    ("LOC 90 N 180 E 0", "LOC 90 0 0.000 N 180 0 0.000 E 0.00m 1.00m 10000.00m 10.00m"),
    ("LOC 52 N 4 E 0m 90000000m", "LOC 52 0 0.000 N 4 0 0.000 E 0.00m 90000000.00m 10000.00m 10.00m"),
    ("LOC 52 N 4 E 0m 89999999.99m", "LOC 52 0 0.000 N 4 0 0.000 E 0.00m 80000000.00m 10000.00m 10.00m"),
    ("LOC 52 N 4 E 0m 0 0 0", "LOC 52 0 0.000 N 4 0 0.000 E 0.00m 0.00m 0.00m 0.00m"),
    ("LOC 52 N 4 E 00000000001m", "LOC 52 0 0.000 N 4 0 0.000 E 1.00m 1.00m 10000.00m 10.00m"),
    ("LOC 52 022 023 N 4 E 1m", "LOC 52 22 23.000 N 4 0 0.000 E 1.00m 1.00m 10000.00m 10.00m"),
    ("ZONEMD 1 0 0 abababababababababababab", "ZONEMD 1 0 0 ABABABABABABABABABABABAB"),
    ("RP @ @", "RP example.com. example.com."),
    ("SVCB 1 . key5=AEP+DQA=", "SVCB 1 . ech=QUVQK0RRQT0="),
    (r"SVCB 1 . key5=\000\004abcd", "SVCB 1 . ech=AARhYmNk"),
    ("SVCB 1 . mandatory=key100 key100=a", 'SVCB 1 . mandatory=key100 key100="a"'),
    ('SVCB 1 . mandatory="port,alpn" port=1 alpn=h2', 'SVCB 1 . mandatory=alpn,port alpn="h2" port=1'),
    (r'SVCB 1 . alpn="a\\b"', 'SVCB 1 . alpn="ab"'),
    (r"SVCB 1 . alpn=a\\,b", r'SVCB 1 . alpn="a\\,b"'),
    ('SVCB 1 . ech="AEP+DQA="', "SVCB 1 . ech=AEP+DQA="),
    (r"SVCB 1 . key100=a\032b", 'SVCB 1 . key100="a b"'),
    (f"KEY 512 3 RSASHA1 {KEY}", f"KEY 512 3 5 {KEY}"),
    ("SOA ns1 host 00000000000001 1 1 1 1", "SOA ns1.example.com. host.example.com. 1 1 1 1 1"),
    ("SOA ns1 host 1 00000000000001 1 1 1", "SOA ns1.example.com. host.example.com. 1 1 1 1 1"),
    ("APL", "APL "),
    (f"IPSECKEY 10 1 2 192.0.2.38 {KEY[:8]} {KEY[8:]}", f"IPSECKEY 10 1 2 192.0.2.38 {KEY}"),
    (f"HIP 2 {HIT} {KEY} rvs1.example.com. rvs2", f"HIP 2 {HIT} {KEY} rvs1.example.com. rvs2.example.com."),
    ('TXT "é"', r'TXT "\233"'),
]

# Records that are wrong, the word at fault, and what the operator reads.
BAD = [
    ("HINFO PC", 1, "the HINFO record lacks its OS; its fields are: CPU, OS"),
    ("X25 abcd", 0, "the PSDN address is no number; write four or more digits (RFC 1183 §3.1)"),
    ("ISDN a b c", 2, "the ISDN record has more than two strings; write an address and a subaddress (RFC 1183 §3.2)"),
    ("LOC 52 22 23 N 4 53 32 E 1M", 8, f"1M is no length in metres; {PLACE}"),
    ("HTTPS 1 . ohttp=1", 2, "ohttp has a value; write the key alone (RFC 9540 §4)"),
    ("KEY 512 3 1", 3,
     "the KEY record lacks its public key; its fields are: flags, protocol, algorithm, public key"),
    ("AMTRELAY 10 0 1", 3,
     "the AMTRELAY record lacks its relay; write PRECEDENCE DISCOVERY TYPE RELAY (RFC 8777 §4.3.1)"),
    ("AMTRELAY 10 2 1 192.0.2.1", 1, "2 is no discovery bit; write 0 or 1 (RFC 8777 §4.2.2)"),
    ("AMTRELAY 10 0 4 192.0.2.1", 2, "4 is no gateway type; write 0, 1, 2 or 3 (RFC 4025 §2.3)"),
    ("AMTRELAY 10 0 1 2001:db8::1", 3,
     "2001:db8::1 is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1"),
    ("AMTRELAY 10 0 1 192.0.2.1 b", 4,
     "the AMTRELAY record goes on with b; write PRECEDENCE DISCOVERY TYPE RELAY (RFC 8777 §4.3.1)"),
    ("DSYNC CDS PUSH 5359 a.", 1, "PUSH is no scheme; write a number from 0 to 255, or a mnemonic, as in NOTIFY"),
    ("HTTPS 1 . no-default-alpn", 2, "no-default-alpn stands without alpn; give alpn (RFC 9460 §7.1.1)"),
    ("HTTPS 1 . ALPN=h2", 2, f"ALPN is no SvcParamKey; {KEYS}"),
    ("HTTPS 1 . port=", 2, "port has no value; write port=VALUE"),
    ("HTTPS 1 . alpn=", 2, "alpn has no value; write alpn=VALUE"),
    ("HTTPS 1 . mandatory=mandatory", 2,
     "mandatory names a key twice, or itself; name each other key once (RFC 9460 §8)"),
    ("HTTPS 1 . mandatory=port", 2, "the mandatory key port is missing; give it, or do not call it mandatory"),
    ("HTTPS 1 . port=1 port=2", 3, "port is given twice; give each key once (RFC 9460 §2.1)"),
    ("HTTPS 1 . ipv4hint=192.0.2.256", 2, "192.0.2.256 is no IPv4 address; write addresses with commas"),
    ("HTTPS 1 . ipv4hint=", 2, "ipv4hint has no value; write ipv4hint=VALUE"),
    ("HTTPS 1 . ech=!!", 2, "!! is not base64; copy it whole, with = only at its end (RFC 4648 §4)"),
    ("HTTPS 1 . port=65536", 2, "65536 is no number from 0 to 65535; write decimal digits, in that range"),
    ("APL 3:0.0.0.0/0", 0, "3:0.0.0.0/0 is no address prefix; write it as in !1:192.0.2.0/24 or 2:2001:db8::/32"),
    ("APL 1:192.0.2.0/33", 0, "1:192.0.2.0/33 has a prefix length of 33; write at most 32"),
    ("EUI48 00:00:5e:00:53:2a", 0, "00:00:5e:00:53:2a is no EUI-48 address; write it as in 00-00-00-00-00-00"),
    (f"DS 12345 13 2 {SHA1}", 3, "the digest has 20 octets; type 2 has 32: copy it whole"),
    (f"DS 12345 13 1 {SHA256}", 3, "the digest has 32 octets; type 1 has 20: copy it whole"),
    (f"DS 12345 13 3 {SHA1}", 3, "the digest has 20 octets; type 3 has 32: copy it whole"),
    (f"DS 12345 13 SHA256 {SHA256}", 2, "SHA256 is no number from 0 to 255; write decimal digits, in that range"),
    ("DS 12345 13 2", 3, "the DS record lacks its digest; its fields are: key tag, algorithm, digest type, digest"),
    ("DS 12345 13 2 abc", 3, "the hexadecimal text is not whole; write pairs of the digits 0-9 and a-f"),
    (f"DS 12345 256 2 {SHA256}", 1, "256 is no number from 0 to 255; write decimal digits, in that range"),
    ("DNSKEY 257 3 15", 3,
     "the DNSKEY record lacks its public key; its fields are: flags, protocol, algorithm, public key"),
    ("DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA", 3,
     "the base64 text is not whole; copy it whole, with = only at its end (RFC 4648 §4)"),
    (f"RRSIG A 5 3 86400 20030332173103 20030220173103 2642 example.com. {KEY}", 4,
     "20030332173103 is no time; write it as YYYYMMDDHHmmSS, or as seconds since 1970"),
    (f"RRSIG FOO 5 3 86400 20030322173103 20030220173103 2642 example.com. {KEY}", 0,
     "FOO is no record type; write a mnemonic, as in AAAA, or TYPE and a number"),
    ("NSEC host.example.com.", 1, "the NSEC record lacks its types; its fields are: next name, types"),
    ("NSEC host FOO", 1, "FOO is no record type; write a mnemonic, as in AAAA, or TYPE and a number"),
    (f"NSEC3 1 1 12 abc {HASH} A", 3, "the hexadecimal text is not whole; write pairs of the digits 0-9 and a-f"),
    ("NSEC3 1 1 12 - 2VPTU5TIMAMQTTGL4LUU9KG21E0AOR3Z A", 4,
     "2VPTU5TIMAMQTTGL4LUU9KG21E0AOR3Z is no hashed name; write base32hex without padding (RFC 5155 §3.3)"),
    ('NSEC3PARAM 1 0 0 ""', 3, '"" is not hexadecimal; write pairs of the digits 0-9 and a-f'),
    ("NSEC3PARAM 1 0 0", 3,
     "the NSEC3PARAM record lacks its salt; its fields are: hash algorithm, flags, iterations, salt"),
    (f"ZONEMD 2018031500 1 1 {SHA256}", 3, "the digest has 32 octets; type 1 has 48: copy it whole"),
    ("TLSA 3 1 1", 3,
     "the TLSA record lacks its certificate association data; "
     "its fields are: certificate usage, selector, matching type, certificate association data"),
    (f"SSHFP 4 2 {SHA1}", 2, "the fingerprint has 20 octets; type 2 has 32: copy it whole"),
    (f"SSHFP 4 1 {SHA256}", 2, "the fingerprint has 32 octets; type 1 has 20: copy it whole"),
    ("SSHFP 4 2", 2,
     "the SSHFP record lacks its fingerprint; its fields are: algorithm, fingerprint type, fingerprint"),
    (f"CERT FOO 0 0 {KEY}", 0, "FOO is no certificate type; write a number from 0 to 65535, or a mnemonic, as in PKIX"),
    ("CERT 1 0 0", 3, "the CERT record lacks its certificate; its fields are: type, key tag, algorithm, certificate"),
    ("OPENPGPKEY", 0, "the OPENPGPKEY record lacks its public key; its fields are: public key"),
    (f"IPSECKEY 10 4 2 . {KEY}", 1, "4 is no gateway type; write 0, 1, 2 or 3 (RFC 4025 §2.3)"),
    (f"IPSECKEY 10 0 2 foo. {KEY}", 3,
     "gateway type 0 has the gateway foo.; write a dot: there is none (RFC 4025 §3.1)"),
    ("TYPE65280 foo", 0, 'TYPE65280 has no syntax of its own; write \\# LENGTH HEX (RFC 3597 §5)'),
    ("NULL foo", 0, 'NULL has no syntax of its own; write \\# LENGTH HEX (RFC 3597 §5)'),
    (r"TXT \# 0", 1, f"the octets are no rdata of type TXT{MEND}"),
    (r"TXT \# 2 0261", 2, f"the octets are no rdata of type TXT{MEND}"),
    (r"A \# 3 010203", 2, f"the octets are no rdata of type A{MEND}"),
    (r"A \# 5 0102030405", 2, f"the octets are no rdata of type A{MEND}"),
    (r"A \# 4 010203", 1, "4 octets are announced, 3 are given; make the two agree (RFC 3597 §5)"),
    (r"NS \# 2 c000", 2, f"the octets are no rdata of type NS{MEND}"),
    (r"NS \# 4 01610000", 2, f"the octets are no rdata of type NS{MEND}"),
    (r"MX \# 2 0001", 2, f"the octets are no rdata of type MX{MEND}"),
    (r"DS \# 6 000001020000", 2, f"the octets are no rdata of type DS{MEND}"),
    (rf"DS \# 24 00010502{SHA1}", 2, f"the octets are no rdata of type DS{MEND}"),
    (r"CAA \# 3 00012d", 2, f"the octets are no rdata of type CAA{MEND}"),
    (r"CAA \# 2 0000", 2, f"the octets are no rdata of type CAA{MEND}"),
    (r"NSEC \# 3 016100", 2, f"the octets are no rdata of type NSEC{MEND}"),
    (r"NSEC \# 7 01610000024000", 2, f"the octets are no rdata of type NSEC{MEND}"),
    (r"SSHFP \# 4 04020000", 2, f"the octets are no rdata of type SSHFP{MEND}"),
    (r"NSEC3PARAM \# 6 010000000000", 2, f"the octets are no rdata of type NSEC3PARAM{MEND}"),
    ("A 192.0.2.256", 0, "192.0.2.256 is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1"),
    ("A 192.0.2", 0, "192.0.2 is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1"),
    ("A 192.0.2.1 x", 1, "the A record goes on with x; its fields are: address"),
    ("A", 0, "the A record lacks its address; its fields are: address"),
    ("AAAA 2001:db8::g", 0, "2001:db8::g is no IPv6 address; write it as in 2001:db8::1 (RFC 4291 §2.2)"),
    ("AAAA 1::2::3", 0, "1::2::3 is no IPv6 address; write it as in 2001:db8::1 (RFC 4291 §2.2)"),
    ('NS "ns1"', 0, '"ns1" stands where a name belongs; write the name without quotes'),
    ("NS a..b", 0, "the name a..b has an empty label; remove the extra dot"),
    ("NS .a", 0, "the name .a has an empty label; remove the extra dot"),
    ("NS ns1 ns2", 1, "the NS record goes on with ns2; its fields are: host name"),
    ("NS", 0, "the NS record lacks its host name; its fields are: host name"),
    (r"NS a\300b", 0, r"the name a\300b has a broken escape; write \DDD with DDD up to 255, or \X"),
    ('NS ""', 0, '"" stands where a name belongs; write the name without quotes'),
    ("MX mail", 0, "mail is no number from 0 to 65535; write decimal digits, in that range"),
    ("MX -1 mail", 0, "-1 is no number from 0 to 65535; write decimal digits, in that range"),
    ("MX 10", 1, "the MX record lacks its host name; its fields are: preference, host name"),
    ("MX 10 a b", 2, "the MX record goes on with b; its fields are: preference, host name"),
    ("TXT", 0, "the TXT record lacks its strings; its fields are: strings"),
    (r'TXT "a\25"', 0, r"\2 is a broken escape; write \DDD with DDD up to 255, or \X"),
    ("SRV 0 5 sip", 2, "sip is no number from 0 to 65535; write decimal digits, in that range"),
    ("SRV 0 5 65536 sip", 2, "65536 is no number from 0 to 65535; write decimal digits, in that range"),
    ("NAPTR 1 1 a b c", 5,
     "the NAPTR record lacks its replacement; "
     "its fields are: order, preference, flags, services, regular expression, replacement"),
    ('CAA 256 issue ";"', 0, "256 is no number from 0 to 255; write decimal digits, in that range"),
    ('CAA 0 iss-ue ";"', 1, "iss-ue is no property tag; write ASCII letters and digits, as in issue (RFC 8659 §4.1)"),
    ('CAA 0 "issue" ";"', 1, '"issue" is no property tag; write ASCII letters and digits, as in issue (RFC 8659 §4.1)'),
    ("CAA 0 issue", 2, "the CAA record lacks its value; its fields are: flags, tag, value"),
    ("CAA 0 issue a b", 3, "the CAA record goes on with b; its fields are: flags, tag, value"),
    ("URI 1 1", 2, "the URI record lacks its target; its fields are: priority, weight, target"),
    ('URI 1 x "a"', 1, "x is no number from 0 to 65535; write decimal digits, in that range"),
    ("HINFO a b c", 2, "the HINFO record goes on with c; its fields are: CPU, OS"),
    ("RP a", 1, "the RP record lacks its second name; its fields are: first name, second name"),
    ("EUI64 00-00-5e-ef-10-00-00", 0,
     "00-00-5e-ef-10-00-00 is no EUI-64 address; write it as in 00-00-00-00-00-00-00-00"),
    ("NID 10 0014:4fff:ff20", 1, "0014:4fff:ff20 is no 64-bit locator; write four groups, as in 2001:0db8:1140:1000"),
    ("NID 10 0014:4fff:ff20:ee64:1", 1,
     "0014:4fff:ff20:ee64:1 is no 64-bit locator; write four groups, as in 2001:0db8:1140:1000"),
    ("L32 10 10.1.2", 1, "10.1.2 is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1"),
    ("LOC 52 N 4 E", 4, f"a LOC record lacks its altitude; {PLACE}"),
    ("LOC 90 0 1 N 4 E 0m", 0, "the angle is more than 90 degrees; write at most 90 degrees"),
    ("LOC 52 N 4 E 0m -1m", 5, "-1m is no size; write metres from 0.00 to 90000000.00"),
    ("CSYNC 66", 1, "the CSYNC record lacks its flags; its fields are: serial, flags, types"),
    ("NSEC", 0, "the NSEC record lacks its next name; its fields are: next name, types"),
    ("DHCID a", 0, "the base64 text is not whole; copy it whole, with = only at its end (RFC 4648 §4)"),
    ("X25 12a4", 0, "the PSDN address is no number; write four or more digits (RFC 1183 §3.1)"),
    ("NSAP 47", 0, "47 is no NSAP address; write 0x and hexadecimal digits (RFC 1706 §7)"),
    ("SOA ns1 host 1h 1 1 1 1", 2, "1h is no number from 0 to 4294967295; write decimal digits, in that range"),
    ("SOA ns1 host 1 1x 1 1 1", 3, "1x is no time; write seconds, or numbers with the units w, d, h, m, s: 1h30m"),
    ("SOA ns1 host 1 1 1 1", 6,
     "the SOA record lacks its minimum; "
     "its fields are: primary server, mailbox, serial, refresh, retry, expire, minimum"),
    ("SOA ns1 host 1 2 3 4 5 6", 7,
     "the SOA record goes on with 6; its fields are: primary server, mailbox, serial, refresh, retry, expire, minimum"),
    ("SOA ns1 host 1 -1 1 1 1", 3, "-1 is no time; write seconds, or numbers with the units w, d, h, m, s: 1h30m"),
    (f'TXT "{X255}x"', 0, "a string has 256 octets; split it: strings have at most 255 (RFC 1035 §3.3)"),
    (f"TXT {X255}x", 0, "a string has 256 octets; split it: strings have at most 255 (RFC 1035 §3.3)"),
    (f'HINFO "{X255}x" a', 0, "a string has 256 octets; split it: strings have at most 255 (RFC 1035 §3.3)"),
    (f'CAA 0 {X255}x "a"', 1, "a string has 256 octets; split it: strings have at most 255 (RFC 1035 §3.3)"),
    ('TXT a"b"', 0, r'a"b" has a quote inside; write \" for a quote, and a blank between strings'),
    ('TXT "a""b"', 0, r'"a""b" has a quote inside; write \" for a quote, and a blank between strings'),
    ('TXT "a"b', 0, '"a"b has no closing quote; close the quote'),
    (r"TXT \#", 1, 'the length after \\# is missing; write \\# LENGTH HEX (RFC 3597 §5)'),
    (r"A \# 4 C000020", 2, "the hexadecimal text is not whole; write pairs of the digits 0-9 and a-f"),
    (r"A \# 4 ", 1, "4 octets are announced, 0 are given; make the two agree (RFC 3597 §5)"),
    (r"A \#", 1, 'the length after \\# is missing; write \\# LENGTH HEX (RFC 3597 §5)'),
    (r"A \# x", 1, "x is no number from 0 to 65535; write decimal digits, in that range"),
    (r"TYPE65280 \# 1 0g", 2, "0g is not hexadecimal; write pairs of the digits 0-9 and a-f"),
    ("SRV 0 0 80 a b", 4, "the SRV record goes on with b; its fields are: priority, weight, port, target"),
    ("NSEC a TYPE65536", 1, "TYPE65536 is no record type; write a mnemonic, as in AAAA, or TYPE and a number"),
    ("NSEC3PARAM 1 0 65536 -", 2, "65536 is no number from 0 to 65535; write decimal digits, in that range"),
    ("NSEC3PARAM 1 0 1 --", 3, "-- is not hexadecimal; write pairs of the digits 0-9 and a-f"),
    (f'NSEC3 1 0 12 - "{HASH}" A', 4,
     '"2VPTU5TIMAMQTTGL4LUU9KG21E0AOR3… is no hashed name; write base32hex without padding (RFC 5155 §3.3)'),
    (f"DS 1 8 2 {SHA1}zz", 3,
     "00000000000000000000000000000000… is not hexadecimal; write pairs of the digits 0-9 and a-f"),
    ("DS 1 8 4 abab", 3, "the digest has 2 octets; type 4 has 48: copy it whole"),
    ('SSHFP 1 1 "123456789abcdef67890123456789abcdef67890"', 2,
     '"123456789abcdef67890123456789ab… is not hexadecimal; write pairs of the digits 0-9 and a-f'),
    ("SSHFP 256 1 123456789abcdef67890123456789abcdef67890", 0,
     "256 is no number from 0 to 255; write decimal digits, in that range"),
    ("CERT 1 1 FOO AQMF", 2,
     "FOO is no DNSSEC algorithm; write a number from 0 to 255, or a mnemonic, as in ECDSAP256SHA256"),
    ("APL 1:192.0.2/24", 0, "192.0.2 is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1"),
    ("APL 2:::/129", 0, "2:::/129 has a prefix length of 129; write at most 128"),
    ("LOC 52 22 23 24 N 4 E 0m", 3, f"a LOC record lacks N or S; {PLACE}"),
    ("LOC 52 N", 2, f"a LOC record lacks E or W; {PLACE}"),
    ("LOC", 0, "the LOC record lacks its latitude, longitude, altitude; its fields are: latitude, longitude, altitude"),
    ("EUI48 00-00-5e-00-53", 0, "00-00-5e-00-53 is no EUI-48 address; write it as in 00-00-00-00-00-00"),
    ("LP 1", 1, "the LP record lacks its host name; its fields are: preference, host name"),
    ("NSAP 0x4", 0, "0x4 is no NSAP address; write 0x and hexadecimal digits (RFC 1706 §7)"),
    ("GPOS 1 2", 2, "the GPOS record lacks its altitude; its fields are: longitude, latitude, altitude"),
    ("ZONEMD 1 1 1", 3, "the ZONEMD record lacks its digest; its fields are: serial, scheme, hash algorithm, digest"),
    ("ZONEMD 1 256 1 abab", 1, "256 is no number from 0 to 255; write decimal digits, in that range"),
    (f'NAPTR 1 1 "{X255}x" "" "" .', 2, "a string has 256 octets; split it: strings have at most 255 (RFC 1035 §3.3)"),
    ("SVCB 1", 1, "the SVCB record lacks its TargetName; its fields are: SvcPriority, TargetName, SvcParams"),
    ("SVCB 1 . =a", 2, f"nothing is no SvcParamKey; {KEYS}"),
    ("SVCB 1 . key4=192.0.2.1", 2, "the value of key4 is not in wire form; call the key by its name (RFC 9460 §2.1)"),
    ("SVCB 1 . mandatory= port=1", 2, "mandatory has no value; write mandatory=VALUE"),
    (f'SVCB 1 . alpn="{X255}x"', 2, "a protocol in alpn has 256 octets; write 1 to 255, with commas between"),
    ("SVCB 1 . alpn=h2 alpn=h3", 3, "alpn is given twice; give each key once (RFC 9460 §2.1)"),
    ("SVCB 1 . ipv4hint=192.0.2.1,", 2, "nothing is no IPv4 address; write addresses with commas"),
    ("SVCB 1 . ipv6hint=", 2, "ipv6hint has no value; write ipv6hint=VALUE"),
    ("SVCB 1 . port=-1", 2, "-1 is no number from 0 to 65535; write decimal digits, in that range"),
    ("SVCB 1 . no-default-alpn=1 alpn=h2", 2, "no-default-alpn has a value; write the key alone (RFC 9460 §7.1.1)"),
    ("SVCB 0 . alpn", 2, "alpn has no value; write alpn=VALUE"),
    ("SVCB 0 . mandatory=port", 2, "the mandatory key port is missing; give it, or do not call it mandatory"),
    ('SVCB 1 . key100=a"b"', 2, r'a"b" has a quote inside; write \" for a quote, and a blank between strings'),
    (r"SVCB \# 8 0001000003000100", 2, f"the octets are no rdata of type SVCB{MEND}"),
    (r"SVCB \# 9 0001000000000200030000", 1, "9 octets are announced, 11 are given; make the two agree (RFC 3597 §5)"),
    ("IPSECKEY 10 1 2 2001::1 AQNR", 3,
     "2001::1 is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1"),
    ("IPSECKEY 256 1 2 1.2.3.4 AQNR", 0, "256 is no number from 0 to 255; write decimal digits, in that range"),
    ("IPSECKEY 10 1 256 1.2.3.4 AQNR", 2, "256 is no number from 0 to 255; write decimal digits, in that range"),
    ("IPSECKEY 10 1", 2,
     "the IPSECKEY record lacks its gateway; write PRECEDENCE TYPE ALGORITHM GATEWAY KEY (RFC 4025 §3.1)"),
    ("IPSECKEY 10 1 2 1.2.3.4 AQN", 4,
     "the base64 text is not whole; copy it whole, with = only at its end (RFC 4648 §4)"),
    ("CSYNC 1h 3 A", 0, "1h is no number from 0 to 4294967295; write decimal digits, in that range"),
    ("CDNSKEY 0 3 0 AA", 3, "the base64 text is not whole; copy it whole, with = only at its end (RFC 4648 §4)"),
    ('TXT "a', 0, '"a has no closing quote; close the quote'),
    (f"NS {A63}a", 0, f"the name {A63}a has a label of 64 octets; labels have at most 63 (RFC 1035 §2.3.4)"),
    (f"NSEC3PARAM 1 0 1 {'ab' * 256}", 3, "the salt has 256 octets; a salt has at most 255 (RFC 5155 §3.2)"),
    ("TXT" + f" {X255}" * 256, 255, "the rdata has 65536 octets; rdata has at most 65535 (RFC 1035 §3.2.1)"),
    (f"NSEC a TYPE{'9' * 5000}", 1,
     f"TYPE{'9' * 5000} is no record type; write a mnemonic, as in AAAA, or TYPE and a number"),
    ("A \x1b[31m", 0, r"\027[31m is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1"),
]

WIRE = [
    ("A 192.0.2.1", "c0000201"),
    ("AMTRELAY 10 1 0 .", "0a 80"),
    ("AMTRELAY 10 0 3 a.", "0a 03 0161 00"),
    ("DSYNC CDS NOTIFY 5359 a.", "003b 01 14ef 0161 00"),
    ("HTTPS 1 . ohttp alpn=h2", "0001 00 0001 0003 026832 0008 0000"),
    ("AAAA 2001:db8::1", "20010db8000000000000000000000001"),
    ("NS ns1", "036e7331 076578616d706c65 03636f6d 00"),
    ("MX 10 Mail", "000a 044d61696c 076578616d706c65 03636f6d 00"),
    ('TXT "a" b', "0161 0162"),
    ("SRV 0 5 5060 .", "0000 0005 13c4 00"),
    ('CAA 0 issue ";"', "00 05 6973737565 3b"),
    ("SOA . . 1 2 3 4 1h", "00 00 00000001 00000002 00000003 00000004 00000e10"),
    ("LOC 42 21 54 N 71 06 18 W -24m 30m", "00 33 16 13 89172dd0 70be15f0 00988d20"),
    ("APL 1:192.168.32.0/21 !1:192.168.38.0/28", "0001 15 03 c0a820 0001 1c 83 c0a826"),
    ("NSEC host.example.com. A MX RRSIG NSEC TYPE1234",
     "04686f7374 076578616d706c65 03636f6d 00 0006 400100000003 041b" + "00" * 26 + "20"),
    ("SVCB 16 foo.example.org. alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1",
     "0010 03666f6f 076578616d706c65 036f7267 00 0000 0004 00010004 0001 0009 026832 0568332d3139 0004 0004 c0000201"),
]

# What dnspython does not know, refuses, or reads in another way; each of them must stay so.
DNSPYTHON_DIFFERS = {
    "EID 1289",
    "NIMLOC 1289",
    'URI 10 1 ""',
    'HTTPS 1 . alpn="h2,h3" port=8443 ipv4hint=192.0.2.1,192.0.2.2 ech=AEP+DQA= ipv6hint=2001:db8::1',
    f"RKEY 0 3 1 {KEY}",
    "TLSA 3 1 1 0000000000000000000000000000000000000000",
    "SMIMEA 3 1 1 0000000000000000000000000000000000000000",
    "SVCB 1 . ech=AAAA",
    "MD m",
    "MF m",
    "MB m",
    "MG m",
    "MR m",
    "MINFO a b",
    "TALINK a b",
    "HTTPS 0 foo. alpn=h2",
    "TA 12345 13 2 abababababababababababababababababababababababababababababababab",
    "ZONEMD 1 0 0 abababababababababababab",
    "SVCB 1 . key5=AEP+DQA=",
    r'SVCB 1 . alpn="a\\b"',
    'SVCB 1 . ech="AEP+DQA="',
    'TXT "é"',
}

# The wire form of each type, as fields: digits are octets, n a name, s a string, * what is left.
SHAPES = {
    "A": "4", "AAAA": "88", "NS": "n", "CNAME": "n", "PTR": "n", "DNAME": "n", "MD": "n", "MF": "n", "MB": "n",
    "MG": "n", "MR": "n", "NSAP-PTR": "n", "MX": "2n", "AFSDB": "2n", "RT": "2n", "KX": "2n", "LP": "2n",
    "MINFO": "nn", "RP": "nn", "TALINK": "nn", "PX": "2nn", "SOA": "nn44444", "SRV": "222n", "NAPTR": "22sssn",
    "TXT": "s", "SPF": "ss", "AVC": "sss", "NINFO": "s", "HINFO": "ss", "ISDN": "ss", "GPOS": "sss", "NSAP": "1*",
    "EID": "1*", "NIMLOC": "1*", "URI": "22*", "NID": "28", "L32": "24", "L64": "28", "EUI48": "6", "EUI64": "8",
    "KEY": "2111*", "RKEY": "2111*", "DNSKEY": "2111*", "CDNSKEY": "2111*", "RRSIG": "2114442n1*",
    "SIG": "2114442n1*", "TLSA": "1111*", "SMIMEA": "1111*", "CERT": "2211*", "OPENPGPKEY": "1*", "DHCID": "1*",
}  # fmt: skip


def tokenise(text: str) -> list[str]:
    """Words, with their quotes and escapes, as the zone-file reader hands them out."""
    words, word, quoted, at = [], "", False, 0
    while at < len(text):
        step = 2 if text[at] == "\\" else 1
        quoted ^= text[at] == '"'
        if text[at] == " " and not quoted:
            words.append(word)
            word = ""
        else:
            word += text[at : at + step]
        at += step
    return [word for word in [*words, word] if word]


def parse(record: str) -> tuple[int, bytes]:
    mnemonic, _, rest = record.partition(" ")
    number = rrtype.parse(mnemonic)
    assert number is not None
    return number, rdata.parse(number, tokenise(rest), ORIGIN)


def dnspython(record: str) -> bytes:
    mnemonic, _, rest = record.partition(" ")
    origin = dns.name.from_text("example.com.")
    octets = dns.rdata.from_text("IN", mnemonic, rest, origin=origin, relativize=False).to_wire()
    assert octets is not None
    return octets


GOOD = [(record, record) for record in CANONICAL] + OTHERWISE


@pytest.mark.parametrize(("record", "canonical"), GOOD)
def test_a_record_is_read_and_printed(record: str, canonical: str) -> None:
    number, octets = parse(record)
    mnemonic, _, expected = canonical.partition(" ")
    assert rdata.text(number, octets) == expected
    assert parse(f"{mnemonic} {expected}") == (number, octets)


@pytest.mark.parametrize(("record", "octets"), WIRE)
def test_a_record_has_the_wire_form_of_its_rfc(record: str, octets: str) -> None:
    assert parse(record)[1] == bytes.fromhex(octets)


@pytest.mark.parametrize(("record", "word", "message"), BAD)
def test_a_mistake_is_named_with_its_remedy_and_its_word(record: str, word: int, message: str) -> None:
    with pytest.raises(Mistaken) as caught:
        parse(record)
    assert str(caught.value) == message
    assert caught.value.mistake.word == word


@pytest.mark.parametrize("record", [record for record, _ in GOOD if record not in DNSPYTHON_DIFFERS])
def test_dnspython_reads_the_same_octets(record: str) -> None:
    assert dnspython(record) == parse(record)[1]


@pytest.mark.parametrize("record", sorted(DNSPYTHON_DIFFERS))
def test_dnspython_still_differs_where_we_say_so(record: str) -> None:
    try:
        octets = dnspython(record)
    except (dns.exception.DNSException, dns.rdatatype.UnknownRdatatype, ValueError):
        return
    assert octets != parse(record)[1]


def test_every_type_with_a_syntax_is_in_the_tables() -> None:
    tested = {rrtype.parse(record.split()[0]) for record, _ in GOOD}
    assert set(FORMATS) <= tested


@pytest.mark.parametrize("number", sorted(FORMATS))
def test_a_record_without_words_lacks_something_or_is_apl(number: int) -> None:
    if number == rrtype.NUMBERS["APL"]:
        assert rdata.parse(number, [], ORIGIN) == b""
        return
    with pytest.raises(Mistaken, match="lacks"):
        rdata.parse(number, [], ORIGIN)


@pytest.mark.parametrize(("record", "cut"), [
    ("NS a.", [("016100", True)]),
    ("CNAME .", [("00", True)]),
    ("MX 10 a.", [("000a", False), ("016100", True)]),
    ("MINFO a. b.", [("016100", True), ("016200", True)]),
    ("SOA a. b. 0 0 0 0 0", [("016100", True), ("016200", True), ("00" * 20, False)]),
    ("SRV 0 0 0 a.", [("000000000000016100", False)]),      # RFC 3597 §4
    ("DNAME a.", [("016100", False)]),
    ('TXT "a"', [("0161", False)]),
    (r"TYPE65280 \# 0", [("", False)]),
])
def test_only_names_of_rfc_1035_types_may_be_compressed(record: str, cut: list[tuple[str, bool]]) -> None:
    assert [(chunk.hex(), is_name) for chunk, is_name in rdata.pieces(*parse(record))] == cut


@pytest.mark.parametrize(("record", "target"), [
    ("NS NS1", "ns1.example.com."),
    ("MX 10 Mail.Example.NET.", "mail.example.net."),
    ("MX 0 .", None),                       # RFC 7505
    ("SRV 0 0 80 www", "www.example.com."),
    ("SRV 0 0 0 .", None),
    ("HTTPS 1 .", None),                    # the owner
    ("HTTPS 0 pool", "pool.example.com."),
    ("SVCB 1 svc alpn=h2", "svc.example.com."),
    ("KX 1 a", "a.example.com."),
    ("AFSDB 1 a", "a.example.com."),
    ("RT 1 a", "a.example.com."),
    ("CNAME a", None),
    ("A 192.0.2.1", None),
])
def test_the_target_is_the_host_whose_addresses_help(record: str, target: str | None) -> None:
    host = rdata.target(*parse(record))
    assert (None if host is None else name.text(host)) == target


LABELS = st.lists(st.binary(min_size=1, max_size=20), max_size=5)
NAMES = LABELS.map(lambda labels: b"".join(bytes((len(label),)) + label for label in labels) + b"\0")
STRINGS = st.binary(max_size=255).map(lambda octets: bytes((len(octets),)) + octets)
PIECES = {"n": NAMES, "s": STRINGS, "*": st.binary(max_size=99)}


def piece(field: str) -> st.SearchStrategy[bytes]:
    return PIECES[field] if field in PIECES else st.binary(min_size=int(field), max_size=int(field))


def rdatas(shape: str) -> st.SearchStrategy[bytes]:
    return st.tuples(*map(piece, shape)).map(b"".join)


@given(st.sampled_from(sorted(SHAPES)).flatmap(lambda mnemonic: st.tuples(st.just(mnemonic), rdatas(SHAPES[mnemonic]))))
def test_rdata_survives_printing_and_reading(case: tuple[str, bytes]) -> None:
    mnemonic, octets = case
    number = rrtype.NUMBERS[mnemonic]
    words = tokenise(rdata.text(number, octets))
    assert words[0] != r"\#"
    assert rdata.parse(number, words, ORIGIN) == octets
    assert rdata.parse(number, [r"\#", str(len(octets)), octets.hex()], ORIGIN) == octets
    assert b"".join(chunk for chunk, _ in rdata.pieces(number, octets)) == octets


@given(st.sampled_from([*sorted(FORMATS), 65280]), st.binary(max_size=64))
def test_any_octets_print_and_what_is_printed_in_words_reads_back(number: int, octets: bytes) -> None:
    words = tokenise(rdata.text(number, octets))
    if words[:1] != [r"\#"]:
        assert rdata.parse(number, words, ORIGIN) == octets
    else:
        assert bytes.fromhex("".join(words[2:])) == octets


@given(st.sampled_from(GOOD), st.data())
def test_any_octets_close_to_good_ones_print_and_read_back(case: tuple[str, str], data: st.DataObject) -> None:
    number, octets = parse(case[0])
    at = data.draw(st.integers(0, len(octets)))
    changed = octets[:at] + data.draw(st.binary(max_size=2)) + octets[at + data.draw(st.integers(0, 2)) :]
    words = tokenise(rdata.text(number, changed))
    if words[:1] != [r"\#"]:
        assert rdata.parse(number, words, ORIGIN) == changed


ODD_WORDS = st.sampled_from(["1", "a.", r"\#", "N", "=", '"'])
WORDS = st.one_of(ODD_WORDS, st.text(st.characters(min_codepoint=0, max_codepoint=255), min_size=1, max_size=12))


@given(st.sampled_from(sorted(FORMATS)), st.lists(WORDS, max_size=9))
def test_any_words_are_rdata_or_bad_rdata(number: int, words: list[str]) -> None:
    try:
        octets = rdata.parse(number, words, ORIGIN)
    except Mistaken as error:
        assert 0 <= error.mistake.word <= len(words)
        assert error.mistake.fact.isprintable()
        return
    assert rdata.parse(number, tokenise(rdata.text(number, octets)), ORIGIN) == octets
